"""Text that came from a target, made safe to show: nothing in it can move a cursor or reverse a line."""

from __future__ import annotations

import unicodedata

# Control, format (bidi overrides, zero-width), surrogate, private, unassigned; line and paragraph separators.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def visible(text: str) -> str:
    """The text with each hidden or harmful character as ``\\x1b``, ``\\u202e`` or ``\\U000e0001``."""
    return text if text.isascii() and text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    category = unicodedata.category(character)
    if category not in _HIDDEN and (category != "Zs" or character == " "):
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
