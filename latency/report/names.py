"""Text that came from a target, made safe to show: nothing in it can move a cursor or reverse a line."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len

# Control, format (bidi overrides, zero-width), surrogate, private, unassigned; line and paragraph separators.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def escape(name: str, limit: int | None = None) -> str:
    """The name with each hidden or harmful character as ``\\x1b``, ``\\u202e`` or ``\\U000e0001``.

    Args:
        name: untrusted text.
        limit: the most terminal cells that it may take; what is longer loses its middle to an ellipsis.
    """
    if limit is not None and len(name) > 2 * limit:
        # Before anything else: a name can be megabytes, and each character needs at least one cell.
        name = name[:limit] + name[len(name) - limit :]
    shown = name if name.isascii() and name.isprintable() else "".join(map(_escape, name))
    return shown if limit is None else cut(shown, limit)


def cut(text: str, limit: int) -> str:
    """Safe text in at most limit terminal cells, its middle replaced by an ellipsis where it is longer."""
    if sum(map(_cells, text)) <= limit:
        return text
    if limit < 1:
        return ""
    tail = (limit - 1) // 2
    return _head(text, limit - 1 - tail) + "…" + _head(text[::-1], tail)[::-1]


def _head(text: str, limit: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _cells(character)
        if used > limit:
            return text[:index]
    return text


def _cells(character: str) -> int:
    # A combining mark takes no cell, but a thousand of them must not pass as one character.
    return max(1, cell_len(character))


def _escape(character: str) -> str:
    category = unicodedata.category(character)
    if category not in _HIDDEN and (category != "Zs" or character == " "):
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
