"""The BPF side: load the program, attach it, and turn what it saw into a recording."""
