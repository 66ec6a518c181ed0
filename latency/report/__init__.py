"""How to say it: a recording in, text out, without a live machine."""
