"""Where the data folders ``bpf/`` and ``offsets/`` lie: in a wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def directory(name: str, *, package: Path = _PACKAGE) -> Path:
    """The absolute path of a data folder.

    Args:
        name: ``"bpf"`` or ``"offsets"``.
        package: the folder of the ``latency`` package.

    Raises:
        FileNotFoundError: neither ``latency/_data/<name>`` (a wheel) nor ``<name>`` beside the
            package (a checkout or an editable install) exists.
    """
    for candidate in (package / "_data" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"pylat's data folder {name!r} is missing beside {package}")
