"""A page from the middle of the interpreter's code is mapped once more, as libffi does for its callbacks: before the
program is ready, and in the middle of each run."""

import glob
import mmap
import os
import struct
import sys

from protocol import serve, truth

N = 100
kept = []


def tick(n):
    return sum(range(n))


def interpreters_file():
    """The libpython that is loaded, else the executable; in a root without /proc the libpython that is there."""
    try:
        with open("/proc/self/maps") as lines:
            paths = [line.split()[-1] for line in lines if " r-xp " in line and "libpython" in line]
    except OSError:
        paths = glob.glob("/usr/lib/*/libpython3*.so.1.0")
    return (paths or [os.path.realpath(sys.executable)])[0]


def remap():
    with open(interpreters_file(), "rb") as file:
        header = file.read(64)
        (first,), (size, count) = struct.unpack_from("<Q", header, 32), struct.unpack_from("<HH", header, 54)
        file.seek(first)
        programs = [struct.unpack_from("<IIQQQQ", file.read(size)) for _ in range(count)]
        offset, length = next((at, length) for kind, flags, at, _, _, length in programs if kind == 1 and flags & 1)
        middle = (offset + length // 2) // mmap.PAGESIZE * mmap.PAGESIZE
        prot = mmap.PROT_READ | mmap.PROT_EXEC
        kept.append(mmap.mmap(file.fileno(), mmap.PAGESIZE, flags=mmap.MAP_PRIVATE, prot=prot, offset=middle))


def run():
    for number in range(N):
        if number == N // 2:
            remap()
        tick(number)
    return {"tick": truth(N)}


remap()
serve(run)
