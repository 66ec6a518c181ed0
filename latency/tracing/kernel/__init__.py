"""The kernel, and nothing of Python: system calls, BTF, ring buffers, the compiler, what this host allows."""
