"""USDT markers, of the interpreter and of libraries (docs/markers.md)."""
