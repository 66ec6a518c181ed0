"""Interpreters from wheels: programs that freezing tools ship, each around a libpython of manylinux or musllinux.

``cx-Freeze`` and ``freeze-core`` hold, for each CPython, a small program that was linked with the static libpython of
the images by which PyPI's wheels are built (pypa/manylinux). With a standard library beside it and ``launcher.py`` it
is an interpreter. Those of musllinux run below a root that holds nothing but musl's loader.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.interpreter import Candidate, Interpreter, LabError
from tests.lab.suites import import_what_targets_do, into_place, unpack_packages

GLIBC, MUSL = "manylinux2014", "musllinux_1_2"
_MUSL_LIBRARIES = "usr/lib/x86_64-linux-musl"
_LAUNCHER = Path(__file__).with_name("launcher.py")
_REPOSITORY = Path(__file__).resolve().parents[2]
# no target needs them, and they are most of a wheel
_LEFT_OUT = ("libtcl", "libtk", "libX", "libfontconfig", "libfreetype", "libpng", "_tkinter", "_test")
_NOT_OF_THE_LIBRARY = (
    *("lib-dynload", "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "ensurepip", "tkinter"),
    *("turtledemo", "pydoc_data", "config-*", "__pycache__", "*.so", "sitecustomize.py"),
)


@dataclass(frozen=True)
class Wheel:
    """One file of PyPI, by its distribution, release, CPython, platform and SHA-256."""

    distribution: str
    release: str
    minor: int
    platform: str
    sha256: str

    @property
    def name(self) -> str:
        """The folder that it becomes."""
        return f"{self.distribution}-{self.release}-cp3{self.minor}-{self.platform}"

    def root(self, cache: Path) -> Path | None:
        """What an interpreter of it needs as its root."""
        return cache / "musl" if self.platform == MUSL else None

    def executable(self, cache: Path) -> Path:
        """Where its interpreter lies, once it has been made."""
        return (self.root(cache) or cache) / "wheels" / self.name / "app" / f"python3.{self.minor}"


WHEELS = (
    Wheel("cx-Freeze", "7.2.4", 8, GLIBC, "20c0b3aab8e79a7a62604d68ea69516cab42eaecf8434bb520d95594fdc3291a"),
    Wheel("cx-Freeze", "8.0.0", 9, GLIBC, "74fae9cd7f52bd0814e899cd9e6738166eafe584d3af6fe21141af68afc57e77"),
    Wheel("cx-Freeze", "8.0.0", 11, GLIBC, "10ed7e3b1d82449aee615d012cf01a6c9c325fa555376a7543867329d76f747c"),
    Wheel("cx-Freeze", "8.0.0", 12, GLIBC, "5101f2f7074c1373ac122e50c102ffc1805218d0bd994f3f07fe8ffefe46c7cb"),
    Wheel("cx-Freeze", "8.0.0", 13, GLIBC, "ee138b0b000b4014abfcba8f3d6ec45524c50d02e985b987027185c07aa5bdde"),
    Wheel("freeze-core", "0.6.1", 10, GLIBC, "cf262d8907385ae6cafeca054b9c05cdb360e1646a0fb67248bf614296cd3c07"),
    Wheel("freeze-core", "0.8.1", 11, GLIBC, "d591bc9d7367c88d57340a77dc28647065930588ff210c486db37b6e089b349d"),
    Wheel("freeze-core", "0.8.1", 12, GLIBC, "4cf1315685926e298870d1b1504e2b9e676e047b6084d02c3d1e9e1ec11c3d0a"),
    Wheel("freeze-core", "0.8.1", 13, GLIBC, "3e0b5575db49fa6437d426f32cfaada9ffe69e2eba69f66a62b5d665d51828c0"),
    Wheel("freeze-core", "0.8.1", 14, GLIBC, "2500ef546af0c26e30cc8630be353fa02c9ff46d009b76d6d15e79288140d7e6"),
    Wheel("freeze-core", "0.8.1", 15, GLIBC, "6b28139d5cfea4cf8712b4745ff78e2892d41f33c90437efddf1ae6eaaba11cf"),
    Wheel("cx-Freeze", "7.2.4", 8, MUSL, "a37501c617dc2c8c6a267076fb3988f271e0192a3719db7215f5c5c171d4300d"),
    Wheel("cx-Freeze", "7.2.4", 9, MUSL, "9ecb4a728477fb846b8f4395274a330da3119d8711fd526678b2a1612a8c2bb9"),
    Wheel("cx-Freeze", "7.2.10", 10, MUSL, "475ba16c7f43e0c0ee62ff4ba49bfcd67faec639683c64f6d2534e0f68de47f4"),
    Wheel("cx-Freeze", "8.0.0", 11, MUSL, "61b736aae91e24e504d19a598e0cfab8adbe2c84e1c39a6dcdd0d88e10591c89"),
    Wheel("cx-Freeze", "8.0.0", 12, MUSL, "592ee11c4e6e61b57bfd3cd1a4655cfe1e7dbb5e2d1bbac8fa34614d54b16294"),
    Wheel("freeze-core", "0.8.1", 11, MUSL, "eb51479b406e8808c77393fcc5792d7af5f1df4c7a23df839ef55df8c5e6bd6a"),
    Wheel("freeze-core", "0.8.1", 12, MUSL, "b89dfef01e541b3e859d211bc3911919b8da84f66dec8f7c2bb910800ee1cd9a"),
    Wheel("freeze-core", "0.8.1", 13, MUSL, "8caba196a718a50b767f8450e79c7788062025e96ae4f7f2ea40f5b5c97cbbfa"),
    Wheel("freeze-core", "0.8.1", 14, MUSL, "0f42655406fbce99983781b35cb49113dd8bb867e270916ed94ffaa3d534973f"),
    Wheel("freeze-core", "0.8.1", 15, MUSL, "43b313e597579373af734f26b40486e4e979bfdc3db8e81fdaf681affc41163e"),
)

IN_EVERY_RUN = ("freeze-core-0.8.1-cp313-manylinux2014", "freeze-core-0.8.1-cp314-musllinux_1_2")
"""Names of those that no run of the tests is without."""


def make(cache: Path, wheels: Sequence[Wheel], library_owners: Sequence[Interpreter]) -> None:
    """Downloads and makes what is not in the cache yet. What cannot be had is left out, with a line that says why.

    Args:
        library_owners: whose standard libraries can be copied, each for its own minor version.
    """
    for wheel in wheels:
        if wheel.executable(cache).exists():
            continue
        owner = max((it for it in library_owners if it.minor == (3, wheel.minor)), key=_release, default=None)
        try:
            if owner is None:
                raise LabError(f"no CPython 3.{wheel.minor} is here to take the standard library from")
            if root := wheel.root(cache):
                _make_root(root)
            print(f"lab: making an interpreter of {wheel.name}", file=sys.stderr)
            _make(wheel, cache, _library(owner))
        except (LabError, OSError, zipfile.BadZipFile) as error:
            print(f"lab: {wheel.name} is left out: {error}", file=sys.stderr)


def _release(interpreter: Interpreter) -> tuple[int, ...]:
    return tuple(int(part) for part in interpreter.version.split(".") if part.isdigit())


def _library(owner: Interpreter) -> Path:
    """The folder of its standard library, as the host sees it."""
    ask = owner.command("-E", "-S", "-c", "import os; print(os.path.dirname(os.__file__))")
    answer = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    if not answer:
        raise LabError(f"{owner.id} does not say where its standard library is")
    return Path(f"{owner.root or ''}{answer}")


def _make(wheel: Wheel, cache: Path, library: Path) -> None:
    place = wheel.executable(cache).parents[1]
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{wheel.name}-", dir=place.parent) as temporary:
        folder = Path(temporary)
        with zipfile.ZipFile(download(wheel, folder)) as content:
            fresh = unpacked(wheel, content, folder / "fresh")
        modules = fresh / "app" / "lib"
        shutil.copytree(
            library,
            modules,
            ignore=shutil.ignore_patterns(*_NOT_OF_THE_LIBRARY),
            ignore_dangling_symlinks=True,
            dirs_exist_ok=True,
        )
        shutil.copy(_LAUNCHER, modules / "__init__python3.py")
        (modules / "BUILD_CONSTANTS.py").touch()
        into_place(fresh, place)
    root = wheel.root(cache)
    if root:
        _tell_the_loader(root)
    import_what_targets_do(Interpreter("", str(wheel.executable(cache)), str(root) if root else None, wheel.platform))


def _make_root(root: Path) -> None:
    """A root with musl, and the one library that musllinux takes from the system: zlib."""
    unpack_packages(root, "trixie", "musl", "the loader of musl")
    (root / "tmp").mkdir(exist_ok=True)
    library = root / _MUSL_LIBRARIES / "libz.so.1"
    if library.exists():
        return
    if shutil.which("gcc") is None:
        raise LabError("there is no gcc: run script/setup --tests")
    find = subprocess.run(["gcc", "-print-file-name=libz.a"], capture_output=True, text=True, check=True)
    command = ["gcc", "-shared", "-nostdlib", "-o", str(library), "-Wl,--whole-archive", find.stdout.strip()]
    # what glibc alone has is called by the functions that print into compressed files
    command += ["-Wl,-Bsymbolic,-soname,libz.so.1,--defsym=__snprintf_chk=0,--defsym=__vsnprintf_chk=0"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise LabError("zlib cannot be linked for musl: is zlib1g-dev installed?")


def _tell_the_loader(root: Path) -> None:
    """Where the libraries of all wheels are: musl finds a program's own folder by /proc, which the root has not.

    No two have a name in common, unless they are one and the same: each has a part of its hash in it.
    """
    folders = sorted(path for path in root.glob("wheels/*/*") if path.suffix == ".libs")
    folders += sorted(root.glob("wheels/cx-Freeze-*/app/lib"))
    inside = [f"/{folder.relative_to(root)}" for folder in folders]
    (root / "etc/ld-musl-x86_64.path").write_text("\n".join([*inside, f"/{_MUSL_LIBRARIES}", ""]))


def download(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file. Raises LabError: there is no pip, PyPI cannot be reached, or the file is another one."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.distribution}=={wheel.release} --hash=sha256:{wheel.sha256}\n")
    python = _REPOSITORY / ".venv/bin/python"
    command = [str(python) if python.exists() else sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--disable-pip-version-check", f"--dest={folder}"]
    command += [f"--platform={wheel.platform}_x86_64", f"--python-version=3.{wheel.minor}", f"-r{requirements}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(folder.glob("*.whl"))
    if answer.returncode != 0 or len(files) != 1:
        said = [line for line in answer.stderr.splitlines() if line.startswith("ERROR:")] or answer.stderr.splitlines()
        raise LabError(f"pip cannot download it: {said[-1] if said else 'it says nothing'}")
    return files[0]


def unpacked(wheel: Wheel, content: zipfile.ZipFile, fresh: Path) -> Path:
    """What is needed of a wheel, in the folders in which its program looks."""
    package = wheel.distribution.replace("-", "_")
    python, modules = wheel.executable(Path()).name, Path("app/lib")
    places = {
        f"{package}/lib/": modules,
        f"{package}/bases/lib-dynload/": modules,
        f"{package}/bases/lib/": modules,
        f"{package}.libs/": Path(f"{package}.libs"),
    }
    for name in content.namelist():
        folder, _, file = name.rpartition("/")
        if not file or file.startswith(_LEFT_OUT):
            continue
        if folder == f"{package}/bases" and file.startswith("console-"):
            place = fresh / "app" / python
        elif folder == f"{package}/initscripts" and file == "__startup__.py":
            place = fresh / modules / file
        elif (known := places.get(f"{folder}/")) is not None:
            place = fresh / known / file
        else:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.read(name))
        place.chmod(0o755)
    if not (fresh / "app" / python).exists():
        raise LabError("there is no program in the wheel")
    # the program itself looks in ../lib, its modules in ../../PACKAGE.libs
    (fresh / "lib").symlink_to(f"{package}.libs")
    return fresh


def made(cache: Path) -> Iterator[Candidate]:
    """Those that are in the cache."""
    for wheel in WHEELS:
        if (path := wheel.executable(cache)).exists():
            yield Candidate(path, wheel.root(cache), wheel.platform, wheel.name in IN_EVERY_RUN)
