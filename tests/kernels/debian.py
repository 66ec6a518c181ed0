"""Debian's kernels, out of its archive: which there are, and one unpacked with what a virtual machine needs of it.

Of every suite at once, by an apt whose lists and packages lie in the cache; the machine's own apt is not touched.
"""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import LabError, debian_mirror

_SUITES = ("bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid")
_IMAGE = re.compile(r"linux-image-((\d+)\.(\d+)[^ ]*)-amd64")
_OTHER_FLAVOURS = ("-rt", "-cloud", "-unsigned")
# what a root on a virtual disk needs; a kernel that has one built in has no such file
_MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic", "crc32c_intel")
_SETUP_SECTORS, _PAYLOAD, _PAYLOAD_BYTES = 0x1F1, 0x248, 0x24C  # Linux Documentation/arch/x86/boot.rst
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel.

    Attributes:
        release: as ``uname -r`` says it.
        folder: with ``vmlinuz``, ``btf`` (its types) and ``modules`` (uncompressed, in the order of loading).
    """

    release: str
    folder: Path

    @property
    def image(self) -> Path:
        """What qemu boots."""
        return self.folder / "vmlinuz"

    @property
    def btf(self) -> Path:
        """What the running kernel has in ``/sys/kernel/btf/vmlinux``."""
        return self.folder / "btf"

    @property
    def modules(self) -> list[Path]:
        """In the order in which they can be loaded."""
        return sorted((self.folder / "modules").iterdir())


def newest(version: str, packages: Iterable[str]) -> str | None:
    """The newest kernel package of a version (``"6.1"``, ``"6.12.43"``, ``"newest"``); None if there is none."""
    found = []
    for package in packages:
        match = _IMAGE.fullmatch(package)
        if match is None or any(each in package for each in _OTHER_FLAVOURS):
            continue
        if version == "newest" or re.match(re.escape(version) + r"(?!\d)", match[1]):
            found.append(([int(number) for number in re.findall(r"\d+", match[1])], package))
    return max(found)[1] if found else None


def kernel(cache: Path, version: str, *, fresh: bool = False) -> Kernel:
    """The kernel of a version, from the cache or else (or if ``fresh``) the newest of the archive.

    Raises:
        LabError: the archive has no such kernel, or cannot be reached.
    """
    kept = [f"linux-image-{folder.name}" for folder in cache.glob("kernels/*-amd64")]
    package = None if fresh or version == "newest" else newest(version, kept)
    if package is None:
        apt = _Apt(cache / "apt")
        package = newest(version, apt.kernels())
        if package is None:
            raise LabError(f"Debian has no kernel {version}; one of: {', '.join(_versions(apt.kernels()))}")
        folder = cache / "kernels" / package.removeprefix("linux-image-")
        if not folder.is_dir():
            _unpack(apt, package, folder)
    release = package.removeprefix("linux-image-")
    return Kernel(release, cache / "kernels" / release)


def _versions(packages: Iterable[str]) -> list[str]:
    found = {(int(match[2]), int(match[3])) for match in map(_IMAGE.fullmatch, packages) if match}
    return [f"{major}.{minor}" for major, minor in sorted(found)]


class _Apt:
    """An apt of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        mirror = debian_mirror()
        lines = [f"deb {mirror} {suite} main" for suite in _SUITES]
        lines.append(f"deb {mirror.rstrip('/').removesuffix('debian')}debian-security bookworm-security main")
        (folder / "sources.list").write_text("".join(line + "\n" for line in lines))
        self._run("apt-get", "update", "--quiet")

    def kernels(self) -> list[str]:
        """The names of all packages of kernels."""
        return self._run("apt-cache", "pkgnames", "linux-image-").split()

    def has(self, package: str) -> bool:
        """Whether there is a package of this name."""
        return package in self._run("apt-cache", "pkgnames", package).split()

    def unpack(self, package: str, folder: Path) -> None:
        """Put a package's files below a folder."""
        with tempfile.TemporaryDirectory(dir=self._folder) as temporary:
            self._run("apt-get", "download", package, directory=Path(temporary))
            (file,) = Path(temporary).glob("*.deb")
            subprocess.run(["dpkg-deb", "--extract", file, folder], check=True)

    def _run(self, program: str, *arguments: str, directory: Path | None = None) -> str:
        options = {
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": self._folder / "lists",
            "Dir::Cache": self._folder / "cache",
            "Acquire::Languages": "none",
            # a mirror that stands still has an old date: its signature is what counts
            "Acquire::Check-Valid-Until": "false",
            "APT::Sandbox::User": "root",
        }
        command = [program, *(f"-o{name}={value}" for name, value in options.items()), *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"{program} {arguments[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
        return done.stdout


def _unpack(apt: _Apt, package: str, folder: Path) -> None:
    """Unpacks beside the final place and renames, so that a kernel that is there is whole."""
    release = package.removeprefix("linux-image-")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kernel-", dir=folder.parent) as temporary:
        files, made = Path(temporary, "files"), Path(temporary, "made")
        (made / "modules").mkdir(parents=True)
        apart = (f"linux-binary-{release}", f"linux-modules-{release}")  # packages of their own since 7.3
        for each in (package, *(each for each in apart if apt.has(each))):
            apt.unpack(each, files)
        (image,) = (*files.glob(f"boot/vmlinuz-{release}"), *files.glob(f"usr/lib/modules/{release}/vmlinuz"))[:1]
        shutil.copy(image, made / "vmlinuz")
        (made / "btf").write_bytes(_types(image.read_bytes()))
        top = files if (files / "lib/modules").is_dir() else files / "usr"
        for number, path in enumerate(_in_order(top, release)):
            _uncompress(path, made / "modules" / f"{number:02}-{path.name.split('.ko')[0]}.ko")
        made.rename(folder)


def _in_order(top: Path, release: str) -> list[Path]:
    """The files of the modules and of what they need, each after those that it needs."""
    subprocess.run(["depmod", "-b", top, release], check=True)
    folder = top / "lib/modules" / release
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    wanted = [path for name in _MODULES for path in needs if Path(path).name.split(".ko")[0].replace("-", "_") == name]
    # modules.dep names what a module needs with the innermost last
    order = dict.fromkeys(each for path in wanted for each in (*reversed(needs[path]), path))
    return [folder / path for path in order]


def _uncompress(path: Path, to: Path) -> None:
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    elif path.suffix == ".zst":
        data = _zstd(data)
    to.write_bytes(data)


def _zstd(data: bytes) -> bytes:
    # what follows the end of the stream, the size of the kernel, is an error to it
    return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=False).stdout


def _types(image: bytes) -> bytes:
    """The section .BTF of a compressed kernel."""
    from elftools.elf.elffile import ELFFile  # noqa: TID251

    begin = (image[_SETUP_SECTORS] + 1) * 512 + struct.unpack_from("<I", image, _PAYLOAD)[0]
    payload = image[begin : begin + struct.unpack_from("<I", image, _PAYLOAD_BYTES)[0]]
    kernel = _zstd(payload) if payload.startswith(_ZSTD) else lzma.LZMADecompressor().decompress(payload)
    with tempfile.TemporaryFile() as file:
        file.write(kernel)
        section = ELFFile(file).get_section_by_name(".BTF")
        return bytes(section.data())
