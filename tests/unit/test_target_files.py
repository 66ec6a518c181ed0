"""Whether what is typed is the file that a process calls otherwise: links, folders, another root."""

from __future__ import annotations

from pathlib import Path

import pytest

from latency.target.files import TargetFiles
from latency.target.process import Process

STAT = "7 (python3) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 42 0 0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """That of a process in a made-up proc file system, which is in the folder /srv there."""
    root = tmp_path / "root"
    (root / "srv/releases/42").mkdir(parents=True)
    (root / "srv/releases/42/views.py").touch()
    (root / "srv/other.py").touch()
    (root / "srv/current").symlink_to("/srv/releases/42")  # of this root, and not of the machine's
    (root / "srv/loop").symlink_to("loop")
    (root / "app").symlink_to("srv")
    return root


@pytest.fixture
def files(root: Path, tmp_path: Path) -> TargetFiles:
    folder = tmp_path / "proc/7"
    folder.mkdir(parents=True)
    (folder / "stat").write_text(STAT)
    (folder / "root").symlink_to(root)
    (folder / "cwd").symlink_to(root / "srv")
    return TargetFiles(Process(7, proc=tmp_path / "proc"))


@pytest.mark.parametrize(
    ("typed", "filename", "expected"),
    [
        ("/srv/current/views.py", "/srv/releases/42/views.py", True),
        ("/srv/releases/42/views.py", "/srv/current/views.py", True),
        ("/srv/releases/42/views.py", "current/views.py", True),
        ("current/views.py", "/srv/releases/42/views.py", True),
        ("./releases/../current/views.py", "releases/42/views.py", True),
        ("/app/other.py", "../srv/other.py", True),
        ("/../../srv/other.py", "other.py", True),
        ("/app/../srv/other.py", "other.py", True),
        ("/srv/other.py", "/srv/current/views.py", False),
        ("/srv/nothing.py", "/srv/nothing.py", False),
        ("/srv/loop/views.py", "/srv/loop/views.py", False),
        ("/srv", "/srv", False),
        ("\0", "\0", False),
    ],
)
def test_two_paths_of_one_file_are_the_same(files: TargetFiles, typed: str, filename: str, expected: bool) -> None:
    assert files.same(typed, filename) is expected


def test_what_is_typed_may_be_of_pylats_own_folder(
    files: TargetFiles, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root / "srv/releases")
    assert files.same("42/views.py", "/srv/current/views.py")
    assert files.same(str(root / "srv/other.py"), "other.py")
