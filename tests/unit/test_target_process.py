"""``Process``: told by its start time, only ever read."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latency.errors import NoDescriptors, NoSuchProcess, ReadFault, TargetError, TargetGone
from latency.target import vm
from latency.target.elf import Image
from latency.target.linker import told_at
from latency.target.process import Process

STAT = "{pid} ({comm}) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0{image}\n"
PAGE_BYTES = mmap.PAGESIZE


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A child that has said it runs, and that ends with its standard input."""
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def fake(
    proc: Path, pid: int = 7, *, comm: str = "python3", state: str = "S", start: int = 42, image: str = ""
) -> Process:
    """A process under a made-up proc file system."""
    write_stat(proc, pid, comm=comm, state=state, start=start, image=image)
    return Process(pid, proc=proc)


def write_stat(
    proc: Path, pid: int = 7, *, comm: str = "python3", state: str = "S", start: int = 42, image: str = ""
) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "stat").write_text(STAT.format(pid=pid, comm=comm, state=state, start=start, image=image))


def write_children(proc: Path, pid: int, children: str) -> None:
    task = proc / str(pid) / "task" / str(pid)
    task.mkdir(parents=True)
    (task / "children").write_text(children)


def test_a_pid_that_nobody_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSuchProcess):
        Process(7, proc=tmp_path)


def test_a_zombie_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSuchProcess):
        fake(tmp_path, state="Z")


@pytest.mark.parametrize("comm", ["a) S 1 1 (b", "((", ") 1 2 3", "two words", ""])
def test_no_name_of_a_process_misleads_about_its_start_time(tmp_path: Path, comm: str) -> None:
    process = fake(tmp_path, comm=comm)
    assert (process.start_ticks, process.comm) == (42, comm)


def test_a_pid_that_another_process_took_is_gone(tmp_path: Path) -> None:
    process = fake(tmp_path)
    write_stat(tmp_path, start=43)
    assert not process.alive()
    with pytest.raises(TargetGone):
        process.check()


def test_a_process_that_became_a_zombie_is_gone(child: subprocess.Popen[bytes]) -> None:
    process = Process(child.pid)
    assert process.alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not process.alive()


@pytest.mark.parametrize(
    ("now", "how"),
    [
        ({"image": " 0 16 32 48"}, ""),
        ({"image": " 0 64 80 96"}, "exec"),
        ({"image": " 0 0 0 0"}, "exited"),
        ({"image": " 0 0 0 0", "state": "Z"}, "exited"),
        ({"image": " 0 16 32 48", "start": 43}, "exited"),
    ],
    ids=["it runs", "another program", "exiting, without memory", "a zombie", "another process"],
)
def test_a_process_that_exits_has_not_replaced_its_program(tmp_path: Path, now: dict[str, Any], how: str) -> None:
    process = fake(tmp_path, image=" 0 16 32 48")
    image = process.image_identity()
    write_stat(tmp_path, **now)
    assert process.ending(image) == how


def test_children_of_children_are_found_when_asked_for(tmp_path: Path) -> None:
    process = fake(tmp_path)
    write_children(tmp_path, 7, "9 8 ")
    write_children(tmp_path, 8, "10 ")
    assert process.children() == [8, 9]
    assert process.children(recursive=True) == [8, 9, 10]


def test_a_real_child_is_found(child: subprocess.Popen[bytes]) -> None:
    assert child.pid in Process(os.getpid()).children()


def test_command_joins_the_arguments(child: subprocess.Popen[bytes]) -> None:
    assert Process(child.pid).command_words[:2] == [sys.executable, "-c"]


def test_environment_is_that_of_the_start() -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    arguments = [sys.executable, "-S", "-E", "-c", code]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"ONE": "1=2", "EMPTY": ""}
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert Process(process.pid).environ() == {"ONE": "1=2", "EMPTY": ""}
        process.kill()


def test_threads_include_the_main_one() -> None:
    assert os.getpid() in Process(os.getpid()).threads()


def test_namespace_pid_without_a_namespace_is_the_pid() -> None:
    assert Process(os.getpid()).namespace_pid == os.getpid()


def test_memory_reads_back_what_is_there() -> None:
    buffer = ctypes.create_string_buffer(b"\x01\x02\x03\x04\x05\x06\x07\x08 and more")
    process = Process(os.getpid())
    address = ctypes.addressof(buffer)
    assert process.read(address, len(buffer)) == buffer.raw
    assert process.u64(address) == 0x0807060504030201


@pytest.mark.parametrize("address", [0, -1, 1 << 47, (1 << 63) - 4, 1 << 64])
def test_what_is_not_mapped_is_a_read_fault(address: int) -> None:
    process = Process(os.getpid())
    assert process.read_some(address, 8) == b""
    with pytest.raises(ReadFault):
        process.read(address, 8)


def test_an_absurd_size_is_a_read_fault_and_not_an_allocation() -> None:
    buffer = ctypes.create_string_buffer(8)
    with pytest.raises(ReadFault):
        Process(os.getpid()).read(ctypes.addressof(buffer), 1 << 60)


def last_readable(process: Process) -> int:
    """The end of a mapping behind which nothing is mapped."""
    maps = [mapping for mapping in process.maps() if mapping.path not in ("[vsyscall]", "[vvar]", "[vvar_vclock]")]
    return next(one.end for one, after in pairwise(maps) if one.readable and one.end != after.start)


def test_a_read_across_the_end_of_a_mapping_gives_what_is_readable() -> None:
    process = Process(os.getpid())
    end = last_readable(process)
    assert len(process.read_some(end - 16, 64)) == 16
    with pytest.raises(ReadFault):
        process.read(end - 16, 64)


@pytest.mark.parametrize("batched", [True, False])
def test_reading_many_gives_none_for_each_fault_and_keeps_the_order(batched: bool, tmp_path: Path) -> None:
    words = (ctypes.c_uint64 * 3000)(*range(3000))
    process = Process(os.getpid())
    process._batched = batched
    addresses = [ctypes.addressof(words) + 8 * i for i in range(3000)]
    for fault in (0, 1, 1023, 1024, 2047, 2999):
        addresses[fault] = [0, -1, 1 << 70][fault % 3]
    found = process.read_many(addresses, 8)
    expected = [None if a <= 0 or a >= 1 << 63 else i.to_bytes(8, "little") for i, a in enumerate(addresses)]
    assert found == expected


@pytest.fixture
def holed() -> Iterator[mmap.mmap]:
    """Eight pages with words that differ, of which the third and the seventh cannot be read."""
    memory = mmap.mmap(-1, 8 * PAGE_BYTES)
    memory[:] = struct.pack(f"<{PAGE_BYTES}Q", *range(PAGE_BYTES))
    for rights in (0, mmap.PROT_READ | mmap.PROT_WRITE):
        for number in (2, 6):
            start = ctypes.addressof(ctypes.c_char.from_buffer(memory, number * PAGE_BYTES))
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), ctypes.c_size_t(PAGE_BYTES), rights) == 0
        if not rights:
            yield memory


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    places=st.lists(st.integers(0, 8 * PAGE_BYTES - 1), max_size=200),
    size=st.sampled_from([1, 8, 192, 700, PAGE_BYTES]),
    ordered=st.booleans(),
    dense=st.booleans(),
)
def test_what_is_read_in_one_piece_is_what_is_read_one_by_one(
    holed: mmap.mmap, places: list[int], size: int, ordered: bool, dense: bool
) -> None:
    """Beside each other, one over the other, with gaps, at the edges of what can be read, in any order."""
    if dense:
        places = [place for first in places[:20] for place in range(first, min(first + 640, len(holed)), 64)]
    start = ctypes.addressof(ctypes.c_char.from_buffer(holed))
    addresses = [start + place for place in (sorted(places) if ordered else places)]
    read = [bytearray(size) for _ in addresses]
    counts = [vm.read_into(os.getpid(), *each) for each in zip(addresses, map(memoryview, read), strict=True)]
    each = [bytes(data) if count == size else None for data, count in zip(read, counts, strict=True)]
    assert Process(os.getpid()).read_many(addresses, size) == each


def test_a_child_reads_into_memory_of_its_own() -> None:
    ours = vm._scratch(vm.LARGE_BYTES)
    ours[0] = 1
    child = os.fork()
    if not child:
        vm._scratch(vm.LARGE_BYTES)[0] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert vm._scratch(vm.LARGE_BYTES)[0] == ours[0] == 1


def test_reading_many_of_none_is_none() -> None:
    assert Process(os.getpid()).read_many([], 8) == []


def test_the_memory_of_a_process_that_ended_is_gone(child: subprocess.Popen[bytes]) -> None:
    process = Process(child.pid)
    address = next(mapping.start for mapping in process.maps() if mapping.readable)
    process.read(address, 8)
    child.kill()
    child.wait()
    with pytest.raises(TargetGone):
        process.read(address, 8)
    with pytest.raises(TargetGone):
        process.read_many([address], 8)
    with pytest.raises(TargetGone):
        process.maps()


def test_a_mapped_file_that_cannot_be_reached_says_so(tmp_path: Path) -> None:
    process = fake(tmp_path)
    mapping = next(mapping for mapping in Process(os.getpid()).maps() if mapping.executable and mapping.inode)
    (tmp_path / "7" / "root" / mapping.path[1:]).parent.mkdir(parents=True)
    os.mkfifo(tmp_path / "7" / "root" / mapping.path[1:])
    lost = type(mapping)(
        **{name: getattr(mapping, name) for name in mapping.__slots__} | {"inode": 1, "path": mapping.path}
    )
    with pytest.raises(TargetError, match="deleted or replaced"):
        process.open_mapped_file(lost)


def test_a_mapped_file_is_opened_by_its_inode() -> None:
    process = Process(os.getpid())
    mapping = next(mapping for mapping in process.maps() if mapping.executable and mapping.inode)
    fd = process.open_mapped_file(mapping)
    try:
        assert os.fstat(fd).st_ino == mapping.inode
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


# -- a number that is no process's, and what says nothing of the process ------------------------------


def test_the_number_of_a_thread_is_refused_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/status").write_text("Name:\tworker\nTgid:\t5\nNSpid:\t7\n")
    with pytest.raises(NoSuchProcess, match="thread 7 of process 5") as caught:
        fake(tmp_path, 7)
    assert "-p 5" in caught.value.hint


def test_a_real_thread_is_refused_with_its_process() -> None:
    begun, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: (begun.set(), end.wait()))
    thread.start()
    try:
        begun.wait()
        with pytest.raises(NoSuchProcess, match=f"thread {thread.native_id} of process {os.getpid()}"):
            Process(thread.native_id or 0)
    finally:
        end.set()
        thread.join()


@contextmanager
def without_descriptors() -> Iterator[None]:
    """No file can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_process_has_not_ended_where_no_file_can_be_opened() -> None:
    process = Process(os.getpid())
    image = process.image_identity()
    errors: list[str] = []
    with without_descriptors():
        alive, ending = process.alive(), process.ending(image)
        for look in (process.maps, process.threads, process.children, lambda: process.read(1 << 20, 8)):
            try:
                look()
            except NoDescriptors as error:
                errors.append(str(error))
    assert (alive, ending) == (True, "")
    assert len(errors) == 4
    assert all("no file descriptors left" in each for each in errors)


def test_a_process_whose_image_could_not_be_looked_at_is_not_said_to_have_replaced_it(tmp_path: Path) -> None:
    process = fake(tmp_path, image=" 0 16 32 48")
    assert process.ending(()) == ""


def test_whoever_reads_a_process_is_told_whether_it_ended_or_became_another(tmp_path: Path) -> None:
    process = fake(tmp_path)
    with pytest.raises(TargetGone, match="replaced itself"):
        process.maps()
    shutil.rmtree(tmp_path / "7")
    with pytest.raises(TargetGone, match="process 7 ended"):
        process.maps()


@pytest.mark.parametrize(
    ("auxv", "entry"), [(b"", 0), (b"x" * 7, 0), (struct.pack("<4Q", 9, 0x1234, 0, 0) + b"x", 0x1234)]
)
def test_where_the_program_began_is_known_from_its_auxiliary_vector(tmp_path: Path, auxv: bytes, entry: int) -> None:
    process = fake(tmp_path)
    (tmp_path / "7" / "auxv").write_bytes(auxv)
    assert process.entry == entry


def test_where_the_linker_tells_what_it_has_mapped_is_in_the_linker(child: subprocess.Popen[bytes]) -> None:
    process = Process(child.pid)
    told = told_at(process)
    (where,) = (it for it in process.maps() if it.start <= told < it.end)
    assert where.executable
    assert where.path.rpartition("/")[2].startswith("ld-")


def test_where_a_library_begins_is_in_its_code(child: subprocess.Popen[bytes]) -> None:
    libm = next(it for it in Process(child.pid).maps() if it.path.rpartition("/")[2] == "libm.so.6")
    with Image.open(libm.path) as image:
        begins = image.initialization()
        assert begins
        assert image.segment_at(begins).executable
