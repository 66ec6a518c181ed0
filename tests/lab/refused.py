"""Genuine builds that pylat refuses today, with its words. Whoever teaches it one of them takes its line away."""

from __future__ import annotations

REFUSED: dict[str, str] = {}
"""Interpreter's id to the end of the refusal. Of builds that are pinned alone: their code does not change."""
