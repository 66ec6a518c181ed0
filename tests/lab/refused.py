"""Genuine builds that pylat refuses today, with its words. Whoever teaches it one of them takes its line away."""

from __future__ import annotations

from collections.abc import Mapping

REFUSED: Mapping[str, str] = {}
"""Interpreter's id to the end of the refusal. Of builds that are pinned alone: their code does not change."""
