"""A program of ``bpf/`` as one text: the file that is compiled, with the headers that lie beside it."""

from __future__ import annotations

import re
from pathlib import Path

_INCLUDE = re.compile(r'^#include "([^"]+)"\n', re.MULTILINE)


def whole(source: Path) -> str:
    """The text of a C file with the local headers in place of their ``#include``s, each once.

    A header is put where it is included first, below a comment with its name. So where the first ``#include`` of a
    header stands within a condition, all must stand within it. Those of other folders (``<…>``) stay as they are.
    """
    seen: set[str] = set()

    def text_of(path: Path) -> str:
        return _INCLUDE.sub(lambda found: inlined(path.with_name(found[1])), path.read_text(encoding="utf-8"))

    def inlined(header: Path) -> str:
        if header.name in seen:
            return ""
        seen.add(header.name)
        return f"/* {header.name} */\n{text_of(header)}"

    return text_of(source)
