"""Probes at the interpreter's own instructions: the engines usdt, eval and handlers, and what is asked for beside."""
