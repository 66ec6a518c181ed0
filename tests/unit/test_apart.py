"""What a helper of pylat's opens and closes in its place."""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from latency.tracing.kernel import apart, child
from latency.tracing.kernel.apart import Probes
from latency.tracing.kernel.helper import received, send

ROOT = Path(__file__).resolve().parents[2]


def pipe_ends(count: int) -> Iterator[int]:
    for number in range(count):
        reading, writing = os.pipe()
        os.write(writing, str(number).encode())
        os.close(writing)
        yield reading


def refused(*, name: str = "") -> Probes:
    """Probes of something that is no program."""
    return Probes(0, "/proc/self/exe", (0,), (0,), 0, multi=True, name=name)


@pytest.fixture
def helper() -> tuple[int, Path]:
    """The helper's PID, and its folder in /proc."""
    apart.begin()
    assert apart._helper is not None
    pid = apart._helper._process.pid
    return pid, Path(f"/proc/{pid}")


@pytest.mark.parametrize("count", [0, 1, 150])
def test_descriptors_come_over_in_their_order_however_many(count: int) -> None:
    mine, other = socket.socketpair()
    ends = list(pipe_ends(count))
    with mine, other:
        sender = threading.Thread(target=send, args=(mine, ("said", 1), ends))
        sender.start()
        said, descriptors = received(other)
        sender.join()
    assert said == ("said", 1)
    assert [os.read(each, 16) for each in descriptors] == [str(number).encode() for number in range(count)]
    assert not any(os.get_inheritable(each) for each in descriptors)
    for each in [*ends, *descriptors]:
        os.close(each)


def test_who_ends_before_all_is_said_leaves_nothing_open() -> None:
    mine, other = socket.socketpair()
    reading, writing = os.pipe()
    with mine, other:
        mine.sendall(struct.pack("<II", 0, 2))
        socket.send_fds(mine, [b"-"], [writing])
        os.close(writing)
        mine.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            received(other)
    assert os.read(reading, 1) == b""  # nobody holds the other end
    os.close(reading)


def test_what_is_closed_is_closed_when_it_returns() -> None:
    reading, writing = os.pipe()
    ends = [os.dup(writing) for _ in range(150)]
    os.close(writing)
    apart.close(ends)
    assert ends == []
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_an_error_keeps_its_number_and_its_text() -> None:
    with pytest.raises(OSError, match="the marker app:request__start – für ihn: attach uprobes: ") as caught:
        apart.opened([refused(name="the marker app:request__start – für ihn: ")])
    assert caught.value.errno in (errno.EPERM, errno.EINVAL, errno.EBADF)


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        apart.opened([Probes(0, "/nonexistent", (0,), (0,), 0, multi=True)])


def test_between_requests_the_helper_holds_no_descriptor_of_another_kind(helper: tuple[int, Path]) -> None:
    _, proc = helper
    with pytest.raises(OSError, match="attach uprobes"):
        apart.opened([refused()])
    apart.close(list(pipe_ends(3)))
    links = {each.name: os.readlink(each) for each in (proc / "fd").iterdir()}
    # libffi 3.5 keeps its own file open, for its trampolines
    assert {name for name, link in links.items() if "/libffi." not in link} == {"0", "1", "2"}


def test_nothing_but_pylats_end_ends_the_helper(helper: tuple[int, Path]) -> None:
    pid, proc = helper
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    test_what_is_closed_is_closed_when_it_returns()
    assert proc.exists()
    assert os.getsid(pid) == pid  # not of a group or a terminal that is ended as a whole


def test_where_it_has_been_killed_there_is_another(helper: tuple[int, Path]) -> None:
    pid, _ = helper
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    test_what_is_closed_is_closed_when_it_returns()
    assert apart._helper is not None
    assert apart._helper._process.pid != pid


AT_ONCE = """
import os
from concurrent.futures import ThreadPoolExecutor
from latency.tracing.kernel import apart
from tests.unit.test_apart import refused

def there_and_back(number):
    reading, writing = os.pipe()
    apart.close([os.dup(writing) for _ in range(number)])
    os.close(writing)
    assert os.read(reading, 1) == b""
    try:
        apart.opened([refused(name=str(number))] * number)
    except OSError as error:
        assert error.strerror.startswith(str(number))

with ThreadPoolExecutor(8) as pool:
    list(pool.map(there_and_back, [number % 5 for number in range(80)]))
"""


def test_many_threads_may_do_it_at_once() -> None:
    # A process group of its own, since who waits for each other for ever is to fail, and not to hang.
    process = subprocess.Popen([sys.executable, "-c", AT_ONCE], cwd=ROOT, start_new_session=True)
    try:
        assert process.wait(timeout=500) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


CLOSING = """
import signal, sys
from latency.tracing.kernel import apart
from latency.tracing.kernel.helper import send

talk = apart._conversation()
send(talk, None, [int(sys.argv[1])])
print(apart._helper._process.pid, flush=True)
signal.pause()
"""


def test_a_pylat_that_is_killed_is_outlived_until_the_work_is_done() -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", CLOSING, str(writing)],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[writing],
    ) as process:
        os.close(writing)
        assert process.stdout is not None
        helper = os.pidfd_open(int(process.stdout.readline()))
        assert not select.select([reading, helper], [], [], 0)[0]
        os.killpg(process.pid, signal.SIGKILL)
    assert os.read(reading, 1) == b""  # the last one has closed it
    select.select([helper], [], [])  # and ends
    os.close(reading)
    os.close(helper)


def test_where_there_can_be_no_helper_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_child(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "no process can be made")

    monkeypatch.setattr(apart, "_helper", None)
    monkeypatch.setattr(subprocess, "Popen", no_child)
    test_what_is_closed_is_closed_when_it_returns()
    test_an_error_keeps_its_number_and_its_text()
    assert apart._helper is None


def test_what_runs_as_a_program_of_its_own_needs_the_standard_library_alone() -> None:
    modules = "latency.tracing.kernel.helper, latency.tracing.become"
    program = f"import sys; sys.path.append({str(ROOT)!r}); import {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    names = {name.split(".")[0] for name in done.stdout.split()}
    assert names - {"latency", "__main__"} <= set(sys.stdlib_module_names)


def test_it_imports_nothing_from_where_it_is_started_or_from_the_users_folders(tmp_path: Path) -> None:
    (tmp_path / "struct.py").write_text("raise SystemExit('not this one')")
    command = child.command("latency.tracing.kernel.helper")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUSERBASE": str(tmp_path)}
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=tmp_path, env=environment)
    mine.close()
    assert process.wait() == 0


def test_no_process_is_made_by_fork() -> None:
    """It may deadlock where there are threads, and numpy alone makes some; Python 3.12 and later warn of it."""
    forking = {"fork", "forkpty", "preexec_fn"}
    for path in sorted((ROOT / "latency").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "arg", None)
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else {name}
            assert not names & forking, path
            if isinstance(node, ast.Call) and "get_context" in ast.unparse(node.func):
                assert ast.unparse(node) == "get_context('spawn')", path
