"""``script/pictures``: each of the pictures, made of a measurement that runs for it."""

from __future__ import annotations

import importlib
import importlib.util

_MAKERS = ("terminal", "page")


def main() -> None:
    """All of them, into docs/pictures."""
    for name in _MAKERS:
        if importlib.util.find_spec(f"benchmarks.pictures.{name}"):
            importlib.import_module(f"benchmarks.pictures.{name}").main()


main()
