"""Text that came from a target, made safe to show in a terminal, and cut to the room that is there."""

from __future__ import annotations

from rich.cells import cell_len

from latency.untrusted import visible


def escape(name: str, limit: int | None = None) -> str:
    """The name with each hidden or harmful character as ``\\x1b``, ``\\u202e`` or ``\\U000e0001``.

    Args:
        name: untrusted text.
        limit: the most terminal cells that it may take; what is longer loses its middle to an ellipsis.
    """
    if limit is not None and len(name) > 2 * limit:
        # Before anything else: a name can be megabytes, and each character needs at least one cell.
        name = name[:limit] + name[len(name) - limit :]
    shown = visible(name)
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
