"""The engine watch: hardware watchpoints on what only one function's calls touch (docs/watch.md)."""
