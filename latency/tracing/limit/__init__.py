"""Measuring in slices: when probes or watchpoints are in place, and what that leaves unknown."""
