"""Who are we looking at: the process, its mappings, its ELF files, its CPython. Reads only."""
