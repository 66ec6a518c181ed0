"""What we know of this CPython: the offsets of its structs, the sites of its calls, the names of its functions."""
