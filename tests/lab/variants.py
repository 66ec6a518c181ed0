"""Variants of CPython by compiler and flags: those that people run, by name, and made-up ones, chosen by a seed.

A variant is a whole CPython of which the files that pylat's sites lie in were compiled as it says (``FILES``), and all
others in one way. Pure: ``builds`` makes them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

VERSIONS = ("3.13", "3.11")
COMPILERS: Mapping[str, str] = MappingProxyType(
    {
        **{f"gcc-{number}": "trixie" for number in (12, 13, 14)},
        **{f"gcc-{number}": "sid" for number in (15, 16)},
        "clang-19": "trixie",
        "clang-22": "sid",
    }
)
"""The Debian suite that each compiler is taken from."""

USUAL_COMPILER = "gcc-14"
SHAPES = ("static", "shared")
"""The interpreter inside of the executable, or in a libpython."""

CORE = ("ceval", "genobject", "codeobject", "frame", "frameobject", "instrumentation", "specialize", "call")
"""The files that hold pylat's sites, and what calls them or is inlined into them."""

FILES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        version: MappingProxyType(
            {
                name: f"{'Objects' if name.endswith(('object', 'call')) else 'Python'}/{name}.c"
                for name in CORE
                if version != "3.11" or name != "instrumentation"
            }
        )
        for version in VERSIONS
    }
)
"""By version and name: the files' paths in the source."""


@dataclass(frozen=True)
class Made:
    """By what a file is compiled."""

    compiler: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One CPython to be made.

    Attributes:
        name: its folder, unique.
        version: the minor version, ``"3.13"``.
        made: how the files of ``CORE`` are compiled, and all is linked.
        shape: of ``SHAPES``.
        dtrace: whether the USDT markers are compiled in.
        profile: whether ``CORE`` is compiled by a profile of a short run.
        lto: whether the files of ``CORE`` are optimised together.
        bolt: whether the executable is laid out anew by a profile.
        other: files that are compiled otherwise, by name.
    """

    name: str
    version: str
    made: Made
    shape: str = "static"
    dtrace: bool = False
    profile: bool = False
    lto: bool = False
    bolt: bool = False
    other: Mapping[str, Made] = field(default_factory=dict)

    def made_by(self, file: str) -> Made:
        """How this file of ``CORE`` is compiled."""
        return self.other.get(file, self.made)

    @property
    def about(self) -> str:
        """In one line."""
        kinds = [word for word in ("dtrace", "profile", "lto", "bolt") if getattr(self, word)]
        words = [self.version, self.made.compiler, *self.made.flags, self.shape, *kinds]
        words += [f"{name}: {it.compiler} {' '.join(it.flags)}" for name, it in sorted(self.other.items())]
        return ", ".join([" ".join(words[: len(words) - len(self.other)]), *words[len(words) - len(self.other) :]])


@dataclass(frozen=True)
class Recipe:
    """How a named kind of build is made: see ``Variant``."""

    flags: str
    shape: str = "static"
    compiler: str = USUAL_COMPILER
    dtrace: bool = False
    profile: bool = False
    lto: bool = False
    bolt: bool = False


_POINTERS = "-fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"
_DOCKER = "-O2 -fstack-protector-strong -fcf-protection -fno-semantic-interposition"
_FEDORA = (
    f"-O3 -fstack-protector-strong -fcf-protection -fstack-clash-protection -fno-semantic-interposition {_POINTERS}"
)
_CONDA = "-O3 -fno-plt -march=nocona -mtune=haswell -ftree-vectorize -fstack-protector-strong"
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "docker-fp": Recipe(f"{_DOCKER} {_POINTERS}", "shared"),
        "docker-nofp": Recipe(_DOCKER, "shared"),
        "fedora": Recipe(_FEDORA, "shared", dtrace=True),
        "conda": Recipe(_CONDA),
        **{level: Recipe(f"-{level}") for level in ("O1", "O2", "O3", "Os", "Og")},
        **{name: Recipe("-O3", compiler=name) for name in COMPILERS if name != USUAL_COMPILER},
        "docker-pgo": Recipe(f"{_DOCKER} {_POINTERS}", "shared", profile=True, lto=True),
        "fedora-pgo": Recipe(_FEDORA, "shared", dtrace=True, profile=True, lto=True),
        "conda-pgo": Recipe(_CONDA, profile=True, lto=True),
        "pbs": Recipe(f"-O3 {_POINTERS}", compiler="clang-22", profile=True, lto=True),
        "pbs-bolt": Recipe(f"-O3 {_POINTERS}", compiler="clang-22", profile=True, lto=True, bolt=True),
    }
)
"""The builds that have a name: of a distributor, by level of optimisation, by compiler."""

_LEVELS = ("-O1", "-O2", "-O2", "-O3", "-O3", "-Os", "-Og")
_OFTEN = (
    *("-fno-omit-frame-pointer", "-fcf-protection", "-fcf-protection=none", "-fstack-protector-strong"),
    *("-fstack-clash-protection", "-fno-semantic-interposition", "-fno-plt", "-march=x86-64-v3"),
)
_SELDOM: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "both": (
            *("-march=nocona", "-mtune=haswell", "-mno-red-zone", "-fno-jump-tables", "-fno-optimize-sibling-calls"),
            *("-ffunction-sections", "-falign-functions=64", "-fno-inline", "-fno-unroll-loops", "-fPIC", "-fwrapv"),
            *("-fno-strict-aliasing", "-fstack-protector-all", "-funroll-loops", "-ftrapv", "-fno-builtin"),
        ),
        "gcc": (
            *("-fno-gcse", "-fno-crossjumping", "-fno-reorder-blocks", "-fno-reorder-blocks-and-partition"),
            *("-fno-shrink-wrap", "-fno-ipa-ra", "-fno-caller-saves", "-fno-schedule-insns2", "-fschedule-insns"),
            *("-fno-tree-pre", "-fno-if-conversion", "-fno-ipa-sra", "-fno-partial-inlining", "-fipa-pta"),
            *("-mindirect-branch=thunk", "-fno-tree-vectorize", "-fno-ipa-cp", "-fno-tree-tail-merge"),
            *("-fno-split-paths", "-fno-thread-jumps", "-fno-guess-branch-probability", "-mtune=atom", "-fno-dce"),
        ),
        "clang": (
            *("-mllvm=-enable-tail-merge=0", "-mllvm=-enable-shrink-wrap=0", "-mretpoline", "-mtune=atom"),
            *("-mllvm=-disable-block-placement", "-mllvm=-tail-dup-size=8", "-fno-slp-vectorize"),
            *("-mllvm=-enable-gvn-hoist", "-mllvm=-disable-licm-promotion", "-mllvm=-hot-cold-split"),
        ),
    }
)
_OTHER_SHARE = 0.5


def suite_of(variant: Variant) -> str:
    """The Debian suite in whose root it is linked and runs."""
    return COMPILERS[variant.made.compiler]


def named(names: Sequence[str]) -> list[Variant]:
    """The variants that these names stand for.

    A name is that of a recipe, or its beginning up to a dash (``docker`` for ``docker-fp`` and ``docker-nofp``), or
    ``all``; before it may stand a version (``3.11-docker``), behind it a compiler (``docker@gcc-12``).

    Raises:
        ValueError: there is no such recipe, compiler or version.
    """
    found: dict[str, Variant] = {}
    for name in names:
        version, dash, rest = name.partition("-")
        versions, rest = ([version], rest) if dash and version in VERSIONS else (list(VERSIONS), name)
        wanted, _, compiler = rest.partition("@")
        if compiler and compiler not in COMPILERS:
            raise ValueError(f"there is no compiler {compiler}: {', '.join(COMPILERS)}")
        recipes = [it for it in RECIPES if wanted == "all" or it == wanted or it.startswith(f"{wanted}-")]
        recipes = [wanted] if wanted in COMPILERS and wanted in recipes else recipes
        if not recipes:
            raise ValueError(f"there is no build {name}: {', '.join(['all', *RECIPES])}")
        for it in recipes:
            for each in versions:
                variant = _of_recipe(it, each, compiler)
                found[variant.name] = variant
    return list(found.values())


def _of_recipe(name: str, version: str, compiler: str) -> Variant:
    recipe = RECIPES[name]
    made = Made(compiler or recipe.compiler, tuple(recipe.flags.split()))
    whole = f"{version}-{name}" + (f"@{compiler}" if compiler and compiler != recipe.compiler else "")
    return Variant(whole, version, made, recipe.shape, recipe.dtrace, recipe.profile, recipe.lto, recipe.bolt)


def chosen(seed: int, number: int) -> Variant:
    """The made-up variant of this number: the same for the same seed, whatever others were asked for."""
    chance = random.Random(f"{seed}:{number}")
    version = chance.choice(VERSIONS)
    made = _any(chance)
    other = {}
    if chance.random() < _OTHER_SHARE:
        files = [it for it in FILES[version] if it != "ceval"]
        other = {file: _any(chance) for file in sorted(chance.sample(files, chance.randint(1, len(files))))}
    return Variant(f"{version}-s{seed}-{number:03}", version, made, chance.choice(SHAPES), other=other)


def _any(chance: random.Random) -> Made:
    compiler = chance.choice(list(COMPILERS))
    family = compiler.partition("-")[0]
    flags = [chance.choice(_LEVELS)]
    flags += chance.sample(_OFTEN, chance.choice((0, 0, 1, 1, 2, 3)))
    flags += chance.sample([*_SELDOM["both"], *_SELDOM[family]], chance.choice((0, 1, 1, 2, 3)))
    if "-mindirect-branch=thunk" in flags:
        flags = [it for it in flags if it != "-fcf-protection"]  # gcc refuses both
    return Made(compiler, tuple(flags))
