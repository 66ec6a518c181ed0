"""The USDT markers of a process: of every file whose code it has mapped, also of those that have no name any more."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from latency.errors import MalformedImage, TargetError, UnsupportedBuild, UsageError
from latency.target.elf import Image
from latency.target.maps import Mapping
from latency.target.notes import Marker
from latency.target.process import Process

_NAME = re.compile(r"[^\s:,]{1,200}")


@dataclass(frozen=True, slots=True)
class MarkerName:
    """What names a marker: ``provider:name``, or ``path:provider:name`` for that of one file alone.

    A path is as the target sees it, or its last part; ``"/memfd:name"`` or ``"memfd:name"`` of a file in memory.
    """

    provider: str
    name: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> MarkerName:
        """Raises UsageError where it is none of the two."""
        *path, provider, name = ["", "", *text.rsplit(":", 2)]
        if not _NAME.fullmatch(provider) or not _NAME.fullmatch(name):
            raise UsageError(f"{text!r} is no marker", "give provider:name, or path:provider:name")
        return cls(provider, name, path[-1])

    def __str__(self) -> str:
        return f"{self.provider}:{self.name}"

    def is_in(self, path: str) -> bool:
        """Whether the file of this path is meant."""
        return self.path in ("", path, path.rpartition("/")[2])


@dataclass(frozen=True)
class MarkedFile:
    """A file with markers, whose code a process has mapped.

    Attributes:
        path: as the target sees it; ``"/memfd:name"`` of a file in memory.
        image: its ``fd`` stays open: ``/proc/self/fd/N`` is the very inode that is mapped.
    """

    path: str
    image: Image
    device_inode: tuple[str, int]
    markers: tuple[Marker, ...]

    def sites(self, wanted: MarkerName) -> list[Marker]:
        """All sites of a marker."""
        same = (each for each in self.markers if (each.provider, each.name) == (wanted.provider, wanted.name))
        return list(same) if wanted.is_in(self.path) else []


def marked_files(process: Process) -> list[MarkedFile]:
    """The files with markers, in the order in which they are mapped; what cannot be read as ELF has none.

    Raises:
        TargetGone, NoPrivilege
    """
    found = []
    for mapping in _code(process.maps()):
        image: Image | None = None
        with suppress(TargetError):
            image = Image(process.open_mapped_file(mapping), name=mapping.path)
            if markers := _readable(image):
                found.append(MarkedFile(mapping.path, image, mapping.device_inode, markers))
                continue
        if image is not None:
            image.close()
    process.check()
    return found


def marker_names(files: Iterable[MarkedFile]) -> list[str]:
    """Every ``provider:name``, sorted."""
    return sorted({f"{marker.provider}:{marker.name}" for file in files for marker in file.markers})


def _code(mappings: Iterable[Mapping]) -> Iterator[Mapping]:
    """One executable mapping of each file."""
    seen = set()
    for mapping in mappings:
        if mapping.executable and mapping.inode and mapping.device_inode not in seen:
            seen.add(mapping.device_inode)
            yield mapping


def _readable(image: Image) -> tuple[Marker, ...]:
    try:
        return tuple(image.markers())
    except (MalformedImage, UnsupportedBuild):
        return ()
