"""Whether two paths mean one file: one that a user types, and one of a process, in its own root and folder."""

from __future__ import annotations

import os
import stat

from latency.target.process import Process

_MOST_LINKS = 40  # as the kernel has it (path_resolution(7))

_File = tuple[int, int]  # device and inode


class TargetFiles:
    """Compares paths with those that a process uses. Nothing is opened.

    A relative path of the process is taken in the folder that it is in now.
    """

    def __init__(self, process: Process) -> None:
        self._folder = process.proc / str(process.task)
        self._known: dict[str, _File | None] = {}
        self._typed: dict[str, frozenset[_File]] = {}

    def same(self, typed: str, filename: str) -> bool:
        """Whether what was typed is the file that the process calls so: by symbolic links, from another folder.

        What was typed is taken in the root and the folder of the process, or in pylat's own.
        """
        theirs = self._of_process(filename)
        return theirs is not None and theirs in self._of_user(typed)

    def _of_user(self, typed: str) -> frozenset[_File]:
        if typed not in self._typed:
            self._typed[typed] = frozenset(each for each in (self._of_process(typed), _file(typed)) if each)
        return self._typed[typed]

    def _of_process(self, path: str) -> _File | None:
        if path not in self._known:
            self._known[path] = self._looked_up(path)
        return self._known[path]

    def _looked_up(self, path: str) -> _File | None:
        """Symbolic links are followed one by one: an absolute one begins at the root of the process."""
        root = str(self._folder / "root")
        at, links = str(self._folder / "cwd"), 0
        names = _names(path)
        try:
            while names:
                name = names.pop()
                if name == "/":
                    at = root
                elif name != ".." or at != root:
                    below = f"{at}/{name}"
                    if name == ".." or not stat.S_ISLNK(os.lstat(below).st_mode):
                        at = below
                        continue
                    links += 1
                    if links > _MOST_LINKS:
                        return None
                    names += _names(os.readlink(below))
        except (OSError, ValueError):  # there is none, or no path that can be
            return None
        return _file(at)


def _names(path: str) -> list[str]:
    """The parts of a path, the first one last; ``"/"`` is that of an absolute one."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return [*reversed(parts), *(["/"] if path.startswith("/") else [])]


def _file(path: str) -> _File | None:
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    return (about.st_dev, about.st_ino) if stat.S_ISREG(about.st_mode) else None
