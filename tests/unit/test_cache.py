"""What is kept between runs, and that nobody else can put anything there."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from latency.cache import Cache, key_of

KEY = key_of(["a key"])
VALUE = {"a": [1, 2]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "pylat"


@pytest.fixture
def cache(folder: Path) -> Cache:
    """A cache that holds the value."""
    cache = Cache(folder)
    cache.put(KEY, VALUE)
    assert cache.get(KEY) == VALUE
    return cache


def file_of(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_what_is_put_is_got_in_another_run_and_nothing_else(cache: Cache, folder: Path) -> None:
    assert Cache(folder).get(KEY) == VALUE
    assert cache.get(key_of(["another"])) is None


def test_what_is_kept_is_for_its_owner_alone(cache: Cache, folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert file_of(folder).stat().st_mode & 0o777 == 0o600


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert key_of(["ab", "c"]) != key_of(["a", "bc"])
    assert key_of(["ab"]) == key_of([b"ab"])


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"value": 1}', b'{"key": "other", "value": 1}', b"[" * 100_000],
)
def test_a_corrupt_file_is_as_if_it_were_not_there_and_is_written_anew(
    cache: Cache, folder: Path, content: bytes
) -> None:
    file_of(folder).write_bytes(content)
    assert cache.get(KEY) is None
    cache.put(KEY, VALUE)
    assert cache.get(KEY) == VALUE


def test_a_file_that_is_too_large_is_not_read(cache: Cache, folder: Path) -> None:
    with file_of(folder).open("r+b") as file:
        file.truncate(1 << 40)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_not_believed(cache: Cache, folder: Path, mode: int) -> None:
    file_of(folder).chmod(mode)
    assert cache.get(KEY) is None
    cache.put(KEY, VALUE)
    assert cache.get(KEY) == VALUE


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_a_folder_that_others_may_write_is_neither_read_nor_written(cache: Cache, folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert cache.get(KEY) is None
    cache.put(key_of(["more"]), VALUE)
    assert len(list(folder.iterdir())) == 1


def test_a_folder_of_another_user_is_neither_read_nor_written(
    cache: Cache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)  # so what is here is somebody else's
    assert cache.get(KEY) is None
    cache.put(key_of(["more"]), VALUE)
    assert len(list(folder.iterdir())) == 1


def test_a_file_of_another_user_in_our_folder_is_not_believed(
    cache: Cache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = os.fstat

    def foreign(fd: int) -> os.stat_result:
        return os.stat_result((*about(fd)[:4], os.geteuid() + 1, *about(fd)[5:]))

    monkeypatch.setattr(os, "fstat", foreign)
    assert cache.get(KEY) is None


def test_a_link_in_the_place_of_a_file_is_not_followed(cache: Cache, folder: Path, tmp_path: Path) -> None:
    planted = tmp_path / "planted.json"
    file_of(folder).rename(planted)
    (folder / f"{KEY}.json").symlink_to(planted)
    assert cache.get(KEY) is None
    cache.put(KEY, "ours")
    assert cache.get(KEY) == "ours"
    assert json.loads(planted.read_text())["value"] == VALUE


def test_a_link_in_the_place_of_the_folder_is_not_followed(cache: Cache, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert cache.get(KEY) is None
    cache.put(key_of(["more"]), VALUE)
    assert len(list(elsewhere.iterdir())) == 1


def test_a_pipe_in_the_place_of_a_file_does_not_hang(cache: Cache, folder: Path) -> None:
    file_of(folder).unlink()
    os.mkfifo(folder / f"{KEY}.json", 0o600)
    assert cache.get(KEY) is None


def test_one_key_is_not_served_with_the_value_of_another(cache: Cache, folder: Path) -> None:
    other = key_of(["another"])
    file_of(folder).rename(folder / f"{other}.json")
    assert cache.get(other) is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "pylat")
    cache.put(KEY, VALUE)
    assert cache.get(KEY) is None


def test_the_folder_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    Cache().put(KEY, VALUE)
    assert Cache(tmp_path / "xdg" / "pylat").get(KEY) == VALUE


def test_the_home_is_this_users_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, callers = tmp_path / "mine", tmp_path / "callers"
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(callers))  # as sudo leaves it
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_dir=str(mine)))
    Cache().put(KEY, VALUE)
    assert Cache(mine / ".cache" / "pylat").get(KEY) == VALUE
    assert not callers.exists()
