"""One walk through the objects of a target, from one value to all that it holds, within bounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from latency.cpython.hiding import is_secret, names_a_secret
from latency.cpython.offsets import counts_references
from latency.cpython.values.known import Known
from latency.cpython.values.memory import Memory, Spent, Unreadable
from latency.cpython.values.types import Type, of_language, read_type
from latency.recording import HIDDEN

CUT = "…"
"""Stands where a bound cut a text."""

_HEAD_BYTES = 96  # of an object: all of most numbers and short strings
_DEEPEST = 100  # what our own stack takes, whatever the limits say
LARGEST = 1 << 40
"""Items or bytes beyond which no object of any machine goes."""
_LEAST_SHARE = 60  # characters of a container within another, where there are so many left
_NO_DATA = ("object", "type", "BaseException")  # an instance of anything else is a value by itself
_LARGEST_REFCNT = 1 << 40  # what is larger is a pointer: a freed block links to the next one by its first word


@dataclass(frozen=True)
class Limits:
    """The bounds of one description.

    Attributes:
        depth: how many containers and instances may lie within each other.
        items: of one container, or attributes of one instance.
        characters: of one ``str``, ``int`` or name; bytes of one ``bytes``.
        total: characters of the whole text, about.
        reads: of the target's memory.
        time_s: seconds.
    """

    depth: int = 6
    items: int = 30
    characters: int = 200
    total: int = 4_000
    reads: int = 5_000
    time_s: float = 0.05


class Object(NamedTuple):
    """An object that is there.

    Attributes:
        address: of the ``PyObject``.
        type: of it.
        head: its first bytes, some of which may belong to its neighbour.
    """

    address: int
    type: Type
    head: bytes


Renderer = Callable[["Walk", Object], str]


class Walk:
    """The state of one description: what is being described, and how much may still be read.

    Args:
        known: of the build.
        memory: what is read. It may have ``classes``, a memory from which classes are read instead, and ``head``, a
            ``read_some`` that knows where objects end.
        limits: the bounds.
        renderers: by the name of a type, what describes its instances; ``"object"`` describes all others.
        clock: monotonic, in seconds.
        show_secrets: describe what its name says is secret, too.

    Attributes:
        hides: whether that is left out.
    """

    def __init__(
        self,
        known: Known,
        memory: Memory,
        limits: Limits,
        renderers: Mapping[str, Renderer],
        clock: Callable[[], float] = time.monotonic,
        *,
        show_secrets: bool = False,
    ) -> None:
        self.hides = not show_secrets
        self.known = known
        self.limits = limits
        self.offsets = known.offsets
        self._memory = memory
        self._classes: Memory = getattr(memory, "classes", memory)
        self._read_head = _head_reader(memory)
        self._renderers = renderers
        self._other = renderers["object"]
        self._clock = clock
        self._deadline_s = clock() + limits.time_s
        self._reads_left = limits.reads
        self._left = limits.total
        self._active: set[tuple[int, int]] = set()
        self._types: dict[int, Type] = {}

    # -- text ----------------------------------------------------------------------------------

    def describe(self, address: int, name: str = "") -> str:
        """The whole text of an object. What is read counts on from earlier ones of this walk, characters do not.

        Args:
            name: what it is called, if it has a name.

        Raises:
            TargetGone, NoPrivilege
        """
        self._left = self.limits.total
        text = self.named(name, address)
        return text if len(text) <= self.limits.total else text[: self.limits.total] + CUT

    def value(self, address: int) -> str:
        """The text of an object within another."""
        if self.spent:
            return CUT
        left = self._left
        text = self.known.singletons.get(address)
        if text is None:
            try:
                found = self.object(address)
                # A class is told by its name, whatever its metaclass would say.
                own = not found.type.inherits_repr and found.type.kind != "type"
                if self.hides and found.type.heap and found.type.kind not in _NO_DATA and is_secret(found.type.name):
                    return HIDDEN
                text = self._renderers.get("object" if own else found.type.kind, self._other)(self, found)
            except Unreadable:
                text = f"<unreadable at {address:#x}>"
            except Spent:
                text = CUT
        self._left = min(self._left, left - len(text))  # what lies within is counted already
        return text

    def named(self, name: str, address: int) -> str:
        """The text of an object that has a name: ``HIDDEN`` if that says that it is secret, or was cut before it could.

        What is there only once, as None is, is no secret.
        """
        if self.spent:
            return CUT
        hidden = self.hides and address not in self.known.singletons and (name.endswith(CUT) or is_secret(name))
        return HIDDEN if hidden else self.value(address)

    def row(self, addresses: Iterable[int]) -> Iterator[str]:
        """The texts of what a tuple or a list holds, where a text can be the name of what follows it."""
        before = ""
        for address in addresses:
            text = self.value(address)
            follows = self.hides and names_a_secret(before) and address not in self.known.singletons
            yield HIDDEN if follows and text != CUT else text
            before = text

    @property
    def spent(self) -> bool:
        """Whether a bound is reached that holds for the whole walk."""
        return self._left <= 0 or self._reads_left <= 0 or self._clock() > self._deadline_s

    def inside(self, found: Object, recursive: str, cut: str, render: Callable[[], str]) -> str:
        """The text of something that holds others. Within another one it takes at most half of what may be written:
        what comes after it is to be seen as well.

        Args:
            found: what holds them.
            recursive: what stands for it within itself.
            cut: what stands for it where it lies too deep.
            render: gives the text.
        """
        key = found.address, found.type.address
        if key in self._active:
            return recursive
        if len(self._active) >= min(self.limits.depth, _DEEPEST):
            return cut
        kept_back = max(min(self._left // 2, self._left - _LEAST_SHARE), 0) if self._active else 0
        self._active.add(key)
        self._left -= kept_back
        try:
            return render()
        finally:
            self._left += kept_back
            self._active.discard(key)

    def inherited(self, found: Object) -> str:
        """The text that an object would have if it did not have its own ``__repr__``."""
        type_ = found.type
        while type_.base is not None and type_.name != type_.kind:
            type_ = type_.base
        return self._renderers[type_.kind](self, found._replace(type=type_))

    def items(self, texts: Iterable[str], separator: str = ", ") -> str:
        """The texts joined, as many as the bounds let in. They may be made one by one."""
        return separator.join(self._bounded(texts))

    def _bounded(self, texts: Iterable[str]) -> Iterator[str]:
        count, spent = 0, False
        try:
            for text in texts:
                if spent or count == self.limits.items:
                    yield CUT
                    return
                yield text
                if text == CUT:
                    return
                count, spent = count + 1, self.spent
        except Spent:
            yield CUT

    # -- memory --------------------------------------------------------------------------------

    def read_some(self, address: int, size: int) -> bytes:
        """The readable bytes from ``address`` on, at most ``size``. Raises Spent."""
        self._count_read()
        return self._memory.read_some(address, size)

    def _count_read(self) -> None:
        if self._reads_left <= 0 or self._clock() > self._deadline_s:
            raise Spent
        self._reads_left -= 1

    def read(self, address: int, size: int) -> bytes:
        """Exactly ``size`` bytes at ``address``. Raises Unreadable, Spent."""
        data = self.read_some(address, size)
        if len(data) != size:
            raise Unreadable
        return data

    def words(self, address: int, count: int) -> list[int]:
        """``count`` unsigned words of 8 bytes. Raises Unreadable, Spent."""
        return memoryview(self.read(address, 8 * count)).cast("Q").tolist() if count > 0 else []

    def part(self, found: Object, offset: int, size: int) -> bytes:
        """The bytes of an object from an offset on: fewer than ``size`` where memory ends. Raises Spent."""
        if offset + size <= len(found.head):
            return found.head[offset : offset + size]
        return self.read_some(found.address + offset, size)

    def member(self, found: Object, meaning: str, *, signed: bool = False) -> int:
        """A number or a pointer in an object. Raises Unreadable, Spent."""
        size = self.offsets.size(meaning)
        data = self.part(found, self.offsets[meaning], size)
        if len(data) != size:
            raise Unreadable
        return int.from_bytes(data, "little", signed=signed)

    def size(self, found: Object) -> int:
        """``ob_size`` of a container. Raises Unreadable if it is negative, or beyond any memory."""
        size = self.member(found, "var.size")
        if size >= LARGEST:
            raise Unreadable
        return size

    def object(self, address: int) -> Object:
        """The object at an address, by its head. Raises Unreadable, Spent."""
        self._count_read()
        head = self._read_head(address, _HEAD_BYTES) if address % 8 == 0 else b""
        if len(head) < self.offsets["object.sizeof"] or not self._is_alive(head):
            raise Unreadable
        at = self.offsets["object.type"]
        return Object(address, self.type(int.from_bytes(head[at : at + 8], "little")), head)

    def type(self, address: int) -> Type:
        """The type at an address, read once in a walk. Raises Unreadable, Spent."""
        found = self._types.get(address)
        if found is None and address in self.known.types:
            found = self._types[address] = of_language(self.known, address)
        elif found is None:
            with self.of_classes():
                found = self._types[address] = read_type(self.known, self.read, self.read_some, address)
        return found

    @contextmanager
    def of_classes(self) -> Iterator[None]:
        """Within it, what is read are classes, and what belongs to them."""
        before = self._memory, self._read_head
        self._memory, self._read_head = self._classes, _head_reader(self._classes)
        try:
            yield
        finally:
            self._memory, self._read_head = before

    def _is_alive(self, head: bytes) -> bool:
        """Whether the reference count can be one: it is 0, or a link between free blocks, in what was freed."""
        if self.offsets.free_threaded:
            fields = (self.offsets.fields[f"object.ref_{name}"] for name in ("local", "shared"))
            return counts_references(*(int.from_bytes(head[at : at + size], "little") for at, size in fields))
        count = int.from_bytes(head[self.offsets["object.refcnt"] :][:8], "little")
        if self.offsets.size("object.refcnt") == 4:  # 3.14+: ob_refcnt:32, ob_overflow:16, ob_flags:16
            count &= 0xFFFF_FFFF_FFFF
        return count & 0xFFFF_FFFF != 0 and count < _LARGEST_REFCNT


def _head_reader(memory: Memory) -> Callable[[int, int], bytes]:
    """How to read the first bytes of an object: a memory of captured bytes may know where objects end."""
    reader: Callable[[int, int], bytes] = getattr(memory, "head", memory.read_some)
    return reader
