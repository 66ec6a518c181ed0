"""What the agent knows of processes: who they are, and where they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latency.agent.config import Wanted
from latency.agent.processes import Census, Seen, matches

HASH = "4f" * 32


def seen(*cgroups: str, **more: object) -> Seen:
    about = {"pid": 7, "start_ticks": 1, "parent": 5, "executable": "/usr/bin/python3.11", "uid": 0}
    return Seen(**{**about, "command": "python3 app.py --port 80", **more}, cgroups=cgroups)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "unit", "container", "pod"),
    [
        ("/", "", "", ""),
        ("/system.slice/shop.service", "shop.service", "", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service", "shop.service", "", ""),
        (f"/system.slice/docker-{HASH}.scope", f"docker-{HASH}.scope", HASH, ""),
        (f"/docker/{HASH}", "", HASH, ""),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_1111_2222_3333_0123456789ab.slice/"
            f"cri-containerd-{HASH}.scope",
            f"cri-containerd-{HASH}.scope",
            HASH,
            "0a1b2c3d-1111-2222-3333-0123456789ab",
        ),
        (
            f"/kubepods/besteffort/pod0a1b2c3d-1111-2222-3333-0123456789ab/{HASH}",
            "",
            HASH,
            "0a1b2c3d-1111-2222-3333-0123456789ab",
        ),
    ],
)
def test_unit_container_and_pod_are_read_from_the_cgroup(path: str, unit: str, container: str, pod: str) -> None:
    found = seen(path)
    assert (found.unit, found.container, found.pod) == (unit, container, pod)
    assert found.label("container") == container
    assert found.label("pid") == "7"


@pytest.mark.parametrize(
    ("wanted", "means"),
    [
        (Wanted(executable="*/python3*"), True),
        (Wanted(executable="python3*"), False),
        (Wanted(command="*app.py*"), True),
        (Wanted(command="*app.py"), False),
        (Wanted(user="0"), True),
        (Wanted(user="root"), True),
        (Wanted(user="nobody"), False),
        (Wanted(cgroup="*/shop.service"), True),
        (Wanted(cgroup="*/other.service"), False),
        (Wanted(parent=3), True),
        (Wanted(parent=7), False),
        (Wanted(executable="*/python3*", command="*gunicorn*"), False),
    ],
)
def test_all_that_a_rule_says_has_to_hold(wanted: Wanted, means: bool) -> None:
    assert matches(wanted, seen("/system.slice/shop.service"), [5, 3, 1]) is means


def test_the_own_process_is_seen_as_it_is() -> None:
    found = Census().one(os.getpid())
    assert found
    assert found.parent == os.getppid()
    assert found.executable == os.readlink("/proc/self/exe")
    assert found.uid == os.geteuid()
    assert "pytest" in found.command or "xdist" in found.command or "-c" in found.command
    assert os.getppid() in Census().ancestors(os.getpid())


def test_a_new_process_is_told_while_it_is_young_and_again_when_it_is_asked_for() -> None:
    census = Census()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        for now_s, told in ((0.0, True), (1.0, True), (6.0, False), (7.0, False)):
            assert (process.pid in {each.pid for each in census.look(now_s)}) is told
        census.again(process.pid)
        assert process.pid in {each.pid for each in census.look(8.0)}
        census.forget()
        assert process.pid in {each.pid for each in census.look(20.0)}
        process.communicate(b"\n")
    assert process.pid not in {each.pid for each in census.look(21.0)}
    assert process.pid not in census.pids


def test_a_process_that_replaced_its_program_is_told_again() -> None:
    census = Census()
    code = "import os; os.read(0, 1); os.execv('/bin/cat', ['cat'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.pid in {each.pid for each in census.look(0.0)}
        assert process.pid not in {each.pid for each in census.look(10.0)}
        process.stdin.write("\nhere\n")
        process.stdin.flush()
        assert process.stdout.readline() == "here\n"
        assert {each.pid: each.executable for each in census.look(20.0)}[process.pid].endswith("cat")
        process.stdin.close()


def test_what_vanishes_while_it_is_looked_at_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "exe").symlink_to("/usr/bin/python3")
    (tmp_path / "6").mkdir()
    (tmp_path / "meminfo").touch()
    assert list(Census(tmp_path).look(0.0)) == []


def test_the_processes_are_listed_where_one_has_come_or_ended_and_now_and_then(tmp_path: Path) -> None:
    last = tmp_path / "loadavg"
    last.write_text("0.10 0.20 0.30 1/2 5\n")
    (tmp_path / "5").mkdir()
    census = Census(tmp_path)

    def listed(now_s: float) -> set[int]:
        assert list(census.look(now_s)) == []
        return set(census.pids)

    assert listed(0.0) == {5}
    (tmp_path / "5").rename(tmp_path / "6")
    assert listed(1.0) == {5}  # as many as before, and no number was given since
    last.write_text("0.10 0.20 0.30 1/2 6\n")
    assert listed(2.0) == {6}
    (tmp_path / "6").rename(tmp_path / "7")
    assert listed(3.0) == {6}
    assert listed(8.0) == {7}
    (tmp_path / "8").mkdir()
    last.unlink()  # where the kernel does not say
    assert listed(8.5) == {7, 8}
    (tmp_path / "8").rmdir()
    assert listed(8.6) == {7}
