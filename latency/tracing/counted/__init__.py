"""What the engines share: the structs common to BPF and Python, which functions are followed, what was counted."""
