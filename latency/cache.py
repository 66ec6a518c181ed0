"""What one run of pylat may leave for the next: JSON values by key, in a folder of this user alone.

pylat runs as root and believes what it finds there, so nothing is read that another user could have written. What is
missing, foreign, broken or too large is as if it were not there, and is written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_LIMIT_BYTES = 4 << 20
_NOT_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def key_of(parts: Iterable[bytes | str]) -> str:
    """One key for all these parts, in this order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


class Cache:
    """A folder of values.

    Args:
        folder: by default ``pylat`` in ``$XDG_CACHE_HOME``, else in ``.cache`` of the home that the account database
            gives this user: ``$HOME`` is the calling user's under sudo.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or _base() / "pylat"

    def get(self, key: str) -> Any | None:
        """The value, or None."""
        try:
            if not self._is_ours(os.lstat(self._folder)):
                return None
            fd = os.open(self._folder / f"{key}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode) or not self._is_ours(about) or about.st_size > _LIMIT_BYTES:
                return None
            try:
                kept = json.loads(file.read(_LIMIT_BYTES))
            except (ValueError, RecursionError, OSError):
                return None
        return kept.get("value") if isinstance(kept, dict) and kept.get("key") == key else None

    def put(self, key: str, value: Any) -> None:
        """Keep a value. That it cannot be kept is no error: it is found out again the next time."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_ours(os.lstat(self._folder)):
                return
            fd, name = tempfile.mkstemp(dir=self._folder)  # 0600
            try:
                with os.fdopen(fd, "w") as file:
                    json.dump({"key": key, "value": value}, file)
                os.replace(name, self._folder / f"{key}.json")
            except OSError:
                os.unlink(name)

    @staticmethod
    def _is_ours(about: os.stat_result) -> bool:
        return about.st_uid == os.geteuid() and not about.st_mode & _NOT_OTHERS and not stat.S_ISLNK(about.st_mode)


def _base() -> Path:
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache"
    except KeyError:
        return Path("/nonexistent")
