"""Exact latency of Python functions in live, unmodified CPython processes, by BPF."""

__version__ = "0.1.0"
