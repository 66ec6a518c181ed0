"""What the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = (
    "CONTRIBUTING.md",
    "README.md",
    *(f"docs/{name}.md" for name in ("how-it-works", "kernels", "matching", "cost", "watch")),
)


@pytest.mark.parametrize("page", PAGES)
def test_a_file_that_a_page_names_is_there(page: str, repository: Path) -> None:
    text = (repository / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:latency|bpf|tests|benchmarks|offsets|script|docs)/[\w./-]+)`", text))
    assert {path for path in named if not (repository / path).exists()} <= {"latency/export/", "latency/agent/"}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_a_page_leads_to_is_there(page: str, repository: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", (repository / page).read_text(encoding="utf-8"))
    assert {link for link in links if not (repository / page).parent.joinpath(link).exists()} == set()
