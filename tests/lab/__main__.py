"""``script/lab``: makes what is missing, and lists the lab."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tests.lab import REQUIRED, LabError, builds, cache_directory, interpreters, make, variants


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when a suite or a required version is missing."""
    parser = argparse.ArgumentParser(prog="script/lab", description="Make and list the CPythons of the tests.")
    parser.add_argument("--json", action="store_true", help="a list of objects instead of a table")
    parser.add_argument("--all", action="store_true", help="also those that are not part of every run of the tests")
    about = "make CPythons by compiler and flags instead; list names them"
    parser.add_argument("--build", nargs="+", metavar="NAME", help=about)
    options = parser.parse_args(arguments)
    if options.build:
        return _build(options.build)
    environ = {**os.environ, "PYLAT_LAB_ALL": "1"} if options.all else os.environ
    try:
        make(environ)
    except LabError as error:
        print(f"script/lab: {error}", file=sys.stderr)
        return 1
    found = interpreters(environ)
    if options.json:
        print(json.dumps([asdict(it) for it in found], indent=2))
    else:
        for it in found:
            print(f"{it.version:<10} {it.origin:<18} {it.path}")
    missing = sorted(set(REQUIRED) - {it.minor for it in found})
    for major, minor in missing:
        print(f"script/lab: CPython {major}.{minor} is missing", file=sys.stderr)
    return 1 if missing else 0


def _build(names: Sequence[str]) -> int:
    """1 when one of them could not be made."""
    try:
        wanted = variants.named(["all"] if "list" in names else names)
    except ValueError as error:
        print(f"script/lab: {error}", file=sys.stderr)
        return 2
    if "list" not in names:
        builds.make(cache_directory(), wanted)
    missing = 0
    for it in wanted:
        path = builds.program_of(cache_directory(), it)
        missing += not path.exists()
        print(f"{it.name:<20} {path if path.exists() else '–'}\n    {it.about}")
    return 1 if missing and "list" not in names else 0


if __name__ == "__main__":
    sys.exit(main())
