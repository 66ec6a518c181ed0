"""``/proc/PID/maps`` as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-])([w-])([x-])([ps]) "
    r"([0-9a-f]{1,16}) ([0-9a-f]+:[0-9a-f]+) ([0-9]{1,20})(?: +(.*))?"
)
_ESCAPE = re.compile(r"\\([0-7]{3})")
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of ``/proc/PID/maps``: the bytes [start, end) of an address space.

    ``offset`` is the file offset of ``start`` in bytes. ``device`` is ``"major:minor"`` in
    hexadecimal as the kernel prints it. ``path`` is as seen from our root, or, if it lies in another
    mount namespace, from that one's; ``"[stack]"`` and the like for special mappings, ``""`` for
    anonymous memory.
    """

    start: int
    end: int
    readable: bool
    writable: bool
    executable: bool
    private: bool
    offset: int
    device: str
    inode: int
    path: str
    deleted: bool = False

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    @property
    def device_inode(self) -> tuple[str, int]:
        """What tells one mapped file from another, whatever their names."""
        return self.device, self.inode

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


def parse(text: str) -> list[Mapping]:
    """The mappings in a text of ``/proc/PID/maps``, in its (ascending) order.

    A line that is not a mapping is skipped: the kernel writes none, and a reader that stops at
    one would see less of the target than it could.
    """
    mappings = []
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        start, end, read, write, execute, share, offset, device, inode, path = match.groups()
        path, deleted = _path(path or "", is_file=inode != "0")
        mappings.append(
            Mapping(
                start=int(start, 16),
                end=int(end, 16),
                readable=read == "r",
                writable=write == "w",
                executable=execute == "x",
                private=share == "p",
                offset=int(offset, 16),
                device=device,
                inode=int(inode),
                path=path,
                deleted=deleted,
            )
        )
    return mappings


def _path(text: str, *, is_file: bool) -> tuple[str, bool]:
    """(path without the kernel's marks, was it marked as deleted)."""
    deleted = is_file and text.endswith(_DELETED)
    if deleted:
        text = text[: -len(_DELETED)]
    # Linux 6.x and older alike escape only the newline (seq_file_path(m, file, "\n")); the general
    # form costs nothing. A path that really contains "\012" is indistinguishable from one escaped.
    return _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), text), deleted
