"""The vocabulary of the site finders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any, ClassVar

ENGINES = ("usdt", "eval", "handlers")

# General registers by the order of their numbers in x86-64 instructions.
REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{number}" for number in range(8, 16)))


class Role(str, Enum):
    """What a site sees. The value is the name of its BPF program in ``bpf/pylat.bpf.c``, without ``pylat_``."""

    ENTRY = "entry"  # a frame starts, or goes on after a suspension
    EXIT = "exit"  # a frame is left: return or exception (to 3.10 also suspension)
    RETURN = "return"  # return only
    RAISE = "raise"  # exception only
    YIELD = "yield"  # suspension only
    GENERATOR_DEALLOC = "generator_dealloc"  # a generator or coroutine is freed
    CODE_DEALLOC = "code_dealloc"  # a code object is freed
    GC_DONE = "gc_done"  # a garbage collection ends; these two only where times are split
    GC_START = "gc_start"  # one begins


@dataclass(frozen=True)
class Site:
    """One instruction to probe.

    Attributes:
        role: what it sees.
        name: the opcode, function or marker that it belongs to.
        address: of the instruction, in the file's own addresses.
        offset: the same as a file offset: what a uprobe is placed by.
        start: address at which the handler, function or marker begins.
        instruction: as text, for people.
        emulated: the kernel emulates this instruction; others are single-stepped, which costs several times more.
        semaphore_offset: file offset of a USDT marker's semaphore, 0 for none.
    """

    role: Role
    name: str
    address: int
    offset: int
    start: int
    instruction: str
    emulated: bool
    semaphore_offset: int = 0


@dataclass(frozen=True)
class Place:
    """Where a pointer lies that a site needs: in a register, or in memory, behind at most ``MOST_LOADS`` loads.

    Attributes:
        register: what is read first.
        path: of each load, how far from where the last value points to, in bytes.
    """

    register: str
    path: tuple[int, ...] = ()

    MOST_LOADS: ClassVar[int] = 2

    def __str__(self) -> str:
        """``"rbx"``, ``"[rsp+0x8]"``, ``"[[rsp+0x30]-0x128]"``."""
        read = self.register
        for offset in self.path:
            read = f"[{read}{offset:+#x}]"
        return read

    @classmethod
    def from_json(cls, value: Any) -> Place:
        """Raises TypeError, ValueError or KeyError on what is no place."""
        register, path = value["register"], tuple(value["path"])
        if register not in REGISTERS or len(path) > cls.MOST_LOADS:
            raise ValueError(f"no place: {value!r}")
        if not all(type(offset) is int for offset in path):
            raise TypeError("an offset is no number")
        return cls(register, path)


@dataclass(frozen=True)
class SitePlan:
    """The sites of one engine in one build, and how to read what is there.

    Attributes:
        engine: ``"usdt"``, ``"eval"`` or ``"handlers"``.
        sites: in the order in which they should be placed: exits before entries, so that no entry lacks its exit.
        places: of ``"entry.frame"`` and the like, valid at every site of that role.
        start_by: how an entry is told from a resumption: ``"lasti"`` (f_lasti is -1), ``"oparg"`` (of RESUME) or
            ``"owner"`` (of the frame, and where it stands: RESUME has not run yet).
        resume_opcodes: of the RESUME family, where a suspension is told by the unit that the frame goes on at.
        resume_mask: bits of RESUME's oparg that say where it stands (CPython: RESUME_OPARG_LOCATION_MASK).
        creator_oparg: of the RESUME that a generator expression runs before its generator is made (3.15), or None.
        may_repeat: RESUME can run twice for one entry (3.12 and later, after instrumentation changed).
        notes: what the finder saw, for ``-v`` and ``pylat probes``.
        blind_spots: what this plan cannot see, one line each.
    """

    engine: str
    sites: tuple[Site, ...]
    places: Mapping[str, Place]
    start_by: str
    resume_mask: int = 0xFF
    creator_oparg: int | None = None
    may_repeat: bool = False
    resume_opcodes: tuple[int, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    blind_spots: tuple[str, ...] = field(default=())

    def of(self, role: Role) -> Iterator[Site]:
        """The sites of one role."""
        return (site for site in self.sites if site.role is role)

    def usual(self, role: Role) -> Iterator[Site]:
        """Those that calls run again and again: RESUME turns itself into RESUME_QUICK (3.11) or RESUME_CHECK (3.13);
        instrumented opcodes run for tools alone."""
        names = {site.name for site in self.sites}
        once = {"RESUME"} if names & {"RESUME_QUICK", "RESUME_CHECK"} else set()
        return (site for site in self.of(role) if site.name not in once and not site.name.startswith("INSTRUMENTED_"))

    @property
    def single_stepped(self) -> list[Site]:
        """The sites whose instruction the kernel cannot emulate."""
        return [site for site in self.sites if not site.emulated]

    def to_json(self) -> dict[str, Any]:
        """For a file; each role by its value."""
        return {**asdict(self), "sites": [{**asdict(site), "role": site.role.value} for site in self.sites]}

    @classmethod
    def from_json(cls, value: Any) -> SitePlan:
        """The inverse of ``to_json``. Raises ValueError, TypeError, KeyError or AttributeError on anything else."""
        known = {each.name: value[each.name] for each in fields(SitePlan)}
        sites = tuple(Site(**{**site, "role": Role(site["role"])}) for site in known["sites"])
        numbers = [number for site in sites for number in (site.address, site.offset, site.start)]
        resume_opcodes = tuple(known["resume_opcodes"])
        if not all(type(number) is int for number in (*numbers, *resume_opcodes)):
            raise TypeError("an address or an opcode is no number")
        return SitePlan(
            **{
                **known,
                "sites": sites,
                "places": {name: Place.from_json(place) for name, place in known["places"].items()},
                "resume_opcodes": resume_opcodes,
                "notes": tuple(known["notes"]),
                "blind_spots": tuple(known["blind_spots"]),
            }
        )
