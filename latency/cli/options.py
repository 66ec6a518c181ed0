"""From what was typed to ``Options``, for every command that measures."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from latency.recording import Options

_TYPED = {"duration_s": "duration", "interval_s": "interval"}  # the others have one name


def options_of(arguments: argparse.Namespace, **further: Any) -> Options:
    """Each field of ``Options`` that the command has an argument for; what is not given keeps its default.

    Args:
        further: fields that do not stand in the arguments as they are.
    """
    given = vars(arguments)
    found = {each.name: given.get(_TYPED.get(each.name, each.name)) for each in fields(Options)}
    known = {name: value for name, value in found.items() if value is not None}
    listed = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    return Options(**{**known, **listed, **further})
