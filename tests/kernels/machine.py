"""A virtual machine with one of Debian's kernels, a root of Debian's packages, and pylat set up in it.

The root is made once, below the cache: a folder, in which the host compiles with the root's own compiler, and an image
of it, which the machines boot (what they write to it is gone afterwards). The sources as they are now, and what the
host has prepared, come on a second disk as a tar archive; the results go back on a third.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import lab
from tests.kernels.debian import Kernel
from tests.lab import LabError

REPOSITORY = Path(__file__).resolve().parents[2]
_SUITE = "bookworm"
"""Of the root: the oldest Debian that script/setup is for, with the oldest compiler."""
_PACKAGES = (
    *("busybox-static", "ca-certificates", "debian-archive-keyring", "gcc", "kmod", "libc6-dev", "mmdebstrap"),
    *("procps", "python3", "python3-bpfcc", "python3-dev", "python3-venv", "util-linux"),
)
_HOME = "pylat"
"""The repository, in the root."""
_SOURCES = (*("bpf", "latency", "offsets", "script", "share", "tests"), *("LICENSE", "README.md", "pyproject.toml"))
_ENVIRONMENT = {"HOME": "/root", "LANG": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_SPARE_BYTES, _RESULT_BYTES = 2 << 30, 64 << 20
_PROCESSORS, _MEMORY_MB = 2, 3072
_FAULT = re.compile(r"^.*(BUG:|Oops|int3: 0000|general protection|invalid opcode|Kernel panic).*$", re.MULTILINE)
_SHOWN_CHARACTERS = 6000
_FIRST = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for each in /modules/*.ko; do insmod $each || echo "no $each"; done
mount -t ext4 /dev/vda /root || poweroff -f
mount -t tmpfs run /root/run
cp /job /root/run
for each in proc sys dev; do mount --move /$each /root/$each; done
exec switch_root /root /bin/busybox sh /run/job
"""
_THEN = """busybox mkdir -p /dev/pts /dev/shm /run/results
mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs tmp /tmp
chmod 1777 /tmp /dev/shm
busybox ifconfig lo up
tar -xf /dev/vdb -C /
cd /{home}
({command}; echo $? >/run/results/status) 2>&1 | busybox tee /run/results/output >/dev/console
tar -cf /dev/vdc -C /run/results .
sync
busybox poweroff -f
"""


class Root:
    """The root of the machines.

    Args:
        cache: where it is kept.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        parts = [(REPOSITORY / name).read_bytes() for name in ("pyproject.toml", "script/setup")]
        parts.append(" ".join([_SUITE, *_PACKAGES]).encode())
        self._name = f"root-{hashlib.sha256(b'//'.join(parts)).hexdigest()[:12]}"
        self.folder = cache / self._name
        self.image = cache / f"{self._name}.ext4"

    def make(self) -> None:
        """Build it, unless it is there. Raises LabError."""
        if self.image.exists():
            return
        self._cache.mkdir(parents=True, exist_ok=True)
        for old in self._cache.glob("root-*"):  # of other packages or requirements
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        say("unpacking a root of Debian's packages")
        with tempfile.TemporaryDirectory(prefix=".root-", dir=self._cache) as temporary:
            root = Path(temporary, "root")
            _run(
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
                *("--aptopt=Acquire::Check-Valid-Until false", f"--include={','.join(_PACKAGES)}"),
                *(_SUITE, str(root), lab.debian_mirror()),
            )
            root.rename(self.folder)
        say("setting pylat up in it")
        if _CERTIFICATES.exists():  # whom this machine trusts
            shutil.copy(_CERTIFICATES, self.folder / str(_CERTIFICATES).lstrip("/"))
        shutil.copy("/etc/resolv.conf", self.folder / "etc/resolv.conf")
        self.take_sources()
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
        self.run(["script/setup", "--tests"], environment=pip | {"PYLAT_NO_BROWSER": "1"})
        for suite in lab.foreign_suites({"VERSION_CODENAME": _SUITE}):
            if (interpreters := lab.cache_directory() / suite).is_dir():
                subprocess.run(["cp", "-a", interpreters, self._there("root/.cache/pylat-lab")], check=True)
        say("making an image of it")
        size = sum(path.lstat().st_blocks * 512 for path in self.folder.rglob("*")) + _SPARE_BYTES
        new = self.image.with_suffix(".new")
        _run("mke2fs", "-q", "-t", "ext4", "-d", str(self.folder), str(new), f"{size >> 10}k")
        new.rename(self.image)

    def take_sources(self) -> None:
        """Put the repository's files there as they are now."""
        home = self._there(_HOME)
        for name in _SOURCES:
            here, there = REPOSITORY / name, home / name
            if here.is_dir():
                shutil.rmtree(there, ignore_errors=True)
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(here, there)

    def run(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None, judged: bool = True) -> None:
        """Run a command in it, on the kernel of this machine. Raises LabError, if it is judged by its end."""
        _run(
            *("unshare", "--mount", "--mount-proc", f"--root={self.folder}", f"--wd=/{_HOME}", "--", *command),
            environment={**_ENVIRONMENT, **(environment or {})},
            judged=judged,
        )

    def know_types(self, kernel: Kernel) -> None:
        """Let what runs in it here find the types of another kernel, so that it compiles for that one."""
        shutil.copy(kernel.btf, self._there("sys/kernel/btf") / "vmlinux")
        (self._there("sys/devices/system/cpu") / "possible").write_text(f"0-{_PROCESSORS - 1}\n")
        for name in ("breakpoint", "uprobe"):  # perf's number for what it places
            kind = "bus/event_source/devices/" + name
            shutil.copy(Path("/sys", kind, "type"), self._there("sys/" + kind) / "type")

    def pack(self, to: Path) -> None:
        """The sources, and what pylat has kept for its next run, as an archive to be unpacked over the image."""
        with tarfile.open(to, "w") as archive:
            for name in (*(f"{_HOME}/{each}" for each in _SOURCES), "root/.cache/pylat"):
                if (self.folder / name).exists():
                    archive.add(self.folder / name, name)

    def _there(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def boot(
    root: Root, kernel: Kernel, command: Sequence[str], results: Path, *, limit_s: float, parameters: Sequence[str] = ()
) -> bool:
    """Run a command in a machine with this kernel.

    Args:
        command: as root, in the repository; what it writes to ``/run/results`` comes back.
        results: a folder, which gets that, ``status`` (how the command ended) and ``console`` (what the machine said).
        limit_s: after this time the machine is switched off.
        parameters: for the kernel.

    Returns:
        Whether the machine came to the end of its work.
    """
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pylat-kernels-") as temporary:
        first, job, answer = (Path(temporary, name) for name in ("first.cpio", "job.tar", "answer"))
        _make_first(root, kernel, command, first)
        root.pack(job)
        with answer.open("wb") as file:
            file.truncate(_RESULT_BYTES)
        machine = [
            *("qemu-system-x86_64", *_accelerator(), "-smp", str(_PROCESSORS), "-m", str(_MEMORY_MB)),
            *("-nographic", "-nodefaults", "-no-reboot", "-serial", f"file:{results / 'console'}"),
            *("-kernel", str(kernel.image), "-initrd", str(first)),
            *("-append", " ".join(["console=ttyS0", "panic=-1", "quiet", "mitigations=off", *parameters])),
            *("-drive", f"file={root.image},format=raw,if=virtio,snapshot=on"),
            *("-drive", f"file={job},format=raw,if=virtio,readonly=on"),
            *("-drive", f"file={answer},format=raw,if=virtio,cache=unsafe"),
        ]
        try:
            subprocess.run(machine, stdin=subprocess.DEVNULL, timeout=limit_s, check=True, env={**os.environ})
        except subprocess.TimeoutExpired:
            return False
        except subprocess.CalledProcessError as error:
            raise LabError(f"qemu ended with {error.returncode}") from None
        done = subprocess.run(["tar", "-xf", answer, "-C", results], capture_output=True, check=False)
    return done.returncode == 0


def fault(console: str) -> str:
    """What a kernel said of its fault, from its first line on; the end of what it said, if it had none."""
    found = _FAULT.search(console)
    return console[found.start() :][:_SHOWN_CHARACTERS] if found else console[-_SHOWN_CHARACTERS:]


def emulated_badly(console: str) -> bool:
    """Whether the kernel met its own breakpoint after it had taken it away.

    Linux changes its code (static keys) by way of an ``int3``, and all processors have seen the new code when its
    handler forgets the place (``text_poke_bp_batch``). TCG may let one of them wait between the two.
    """
    found = _FAULT.search(console)
    return bool(found and "int3" in found[0])


def say(line: str) -> None:
    """To whoever waits."""
    print(f"kernels: {line}", file=sys.stderr)


def _accelerator() -> tuple[str, ...]:
    """KVM where the processor can do it; a /dev/kvm alone is not enough."""
    flags = Path("/proc/cpuinfo").read_text()
    if os.access("/dev/kvm", os.R_OK | os.W_OK) and (" vmx" in flags or " svm" in flags):
        return ("-accel", "kvm", "-cpu", "host")
    return ("-accel", "tcg,thread=multi", "-cpu", "max")


def _make_first(root: Root, kernel: Kernel, command: Sequence[str], to: Path) -> None:
    """The initial RAM disk: busybox, the modules, and the script that does all."""
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        for name in ("bin", "dev", "modules", "proc", "root", "sys"):
            (top / name).mkdir()
        shutil.copy(root.folder / "bin/busybox", top / "bin/busybox")
        for name in ("cp", "insmod", "mount", "poweroff", "sh", "switch_root"):
            (top / "bin" / name).symlink_to("busybox")
        for path in kernel.modules:
            shutil.copy(path, top / "modules")
        (top / "init").write_text(_FIRST)
        (top / "init").chmod(0o755)
        words = [*("env", "-i", *(f"{name}={value}" for name, value in _ENVIRONMENT.items())), *command]
        (top / "job").write_text(_THEN.format(home=_HOME, command=shlex.join(words)))
        names = "".join(f"{path.relative_to(top)}\n" for path in sorted(top.rglob("*")))
        with to.open("wb") as file:
            subprocess.run(
                ["cpio", "--quiet", "-o", "-H", "newc"], cwd=top, input=names.encode(), stdout=file, check=True
            )


def _run(*command: str, environment: Mapping[str, str] | None = None, judged: bool = True) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if judged and answer.returncode != 0:
        lines = (answer.stdout + answer.stderr).strip().splitlines()
        raise LabError("\n".join([f"failed: {' '.join(command[:2])} …", *lines[-20:]]))
