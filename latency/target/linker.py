"""Where a dynamic linker tells that it has mapped something: a function that does nothing, made for debuggers.

glibc calls it when everything is mapped and nothing relocated yet, musl when all of it is relocated; both before
anything of it has run.

Sources: link.h (struct r_debug); elf.h; glibc elf/dl-open.c, dl-debug.c; musl ldso/dynlink.c.
"""

from __future__ import annotations

import struct

from latency.errors import TargetError
from latency.target.process import Process

_AT_PHDR, _AT_PHNUM = 3, 5
_HEADER = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_ENTRY = struct.Struct("<qQ")  # Elf64_Dyn
_PT_DYNAMIC, _PT_PHDR = 2, 6
_DT_DEBUG = 21
_R_BRK = 16  # offsetof(struct r_debug, r_brk)
_MOST_HEADERS, _MOST_ENTRIES = 64, 1024


def told_at(process: Process) -> int:
    """The address of that function, once the program's own libraries are there; 0 where it has no such linker."""
    try:
        vector = process.auxiliary_vector()
        start, count = vector.get(_AT_PHDR, 0), min(vector.get(_AT_PHNUM, 0), _MOST_HEADERS)
        headers = {it[0]: it for it in _HEADER.iter_unpack(process.read(start, count * _HEADER.size))}
        if _PT_PHDR not in headers or _PT_DYNAMIC not in headers:
            return 0
        bias = start - headers[_PT_PHDR][3]
        size = min(headers[_PT_DYNAMIC][6] // _ENTRY.size, _MOST_ENTRIES) * _ENTRY.size
        table = process.read(headers[_PT_DYNAMIC][3] + bias, size)
        debug = next((value for tag, value in _ENTRY.iter_unpack(table) if tag == _DT_DEBUG), 0)
        return process.u64(debug + _R_BRK) if debug else 0
    except TargetError:
        return 0
