"""``Reader``: describes the objects of a target."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from latency.cpython.offsets import Offsets
from latency.cpython.values import callables, containers, dates, instances, scalars
from latency.cpython.values.arguments import Signature, arguments, arguments_of, signature
from latency.cpython.values.known import Known
from latency.cpython.values.memory import Memory, Spent, Unreadable
from latency.cpython.values.walk import Limits, Renderer, Walk
from latency.target.build import Build

_RENDERERS: Mapping[str, Renderer] = {
    "object": instances.instance,
    "type": callables.class_,
    "int": scalars.integer,
    "float": scalars.real,
    "complex": scalars.complex_number,
    "str": scalars.string,
    "bytes": scalars.byte_string,
    "bytearray": scalars.byte_array,
    "tuple": containers.tuple_,
    "list": containers.list_,
    "dict": containers.dict_,
    "frozendict": containers.frozen_dict,
    "set": containers.set_,
    "frozenset": containers.set_,
    "datetime.date": dates.date,
    "datetime.time": dates.time,
    "datetime.datetime": dates.datetime,
    "datetime.timedelta": dates.timedelta,
    "datetime.timezone": dates.timezone,
    "BaseException": callables.exception,
    "function": callables.function,
    "method": callables.method,
    "builtin_function_or_method": callables.builtin,
    "builtin_method": callables.builtin,
    "module": callables.module,
    "generator": callables.generator,
    "coroutine": callables.generator,
    "async_generator": callables.generator,
    "code": callables.code,
}


class Reader:
    """Describes the objects of one process.

    Args:
        memory: the process.
        build: its CPython.
        offsets: of that build.
        limits: the bounds of each description.
        clock: monotonic, in seconds.
        show_secrets: describe what its name says is secret, too; else ``HIDDEN`` stands for it.

    Raises:
        UnsupportedBuild: the build lacks a symbol or a struct member.
        ReadFault, TargetGone, NoPrivilege: the process cannot be read.
    """

    def __init__(
        self,
        memory: Memory,
        build: Build,
        offsets: Offsets,
        *,
        limits: Limits = Limits(),  # noqa: B008 (it is frozen)
        clock: Callable[[], float] = time.monotonic,
        show_secrets: bool = False,
    ) -> None:
        self._show_secrets = show_secrets
        self._memory = memory
        self._known = Known.of(memory, build, offsets)
        self._limits = limits
        self._clock = clock

    def describe(
        self, address: int, *, name: str = "", limits: Limits | None = None, memory: Memory | None = None
    ) -> str:
        """The text of an object: one line, as short as its bounds.

        Args:
            address: of the object, untagged.
            name: what it is called: that may say that it is secret.
            limits: other bounds than the reader's own.
            memory: where to read instead of the process: ``Captured``, say.

        Raises:
            TargetGone, NoPrivilege
        """
        return self._walk(limits, memory).describe(address, name)

    def arguments(
        self, frame_address: int, code_address: int, *, limits: Limits | None = None, memory: Memory | None = None
    ) -> list[tuple[str, str]]:
        """The name and the text of each argument of a call that has begun, as its frame holds them now.

        Of all arguments together no more is read than of one object; each has its own text's bound. ``<unbound>``
        stands for one that was deleted since. The list is empty if the frame is not, or no longer, one of that code.

        Args:
            frame_address: of the ``_PyInterpreterFrame``; of the ``PyFrameObject`` to 3.10.
            code_address: of the code object that it runs, untagged.
            limits, memory: as for ``describe``.

        Raises:
            TargetGone, NoPrivilege
        """
        return list(self.each_argument(frame_address, code_address, limits=limits, memory=memory))

    def each_argument(
        self, frame_address: int, code_address: int, *, limits: Limits | None = None, memory: Memory | None = None
    ) -> Iterator[tuple[str, str]]:
        """The same, one after the other: each is read when it is asked for.

        Raises:
            TargetGone, NoPrivilege
        """
        return arguments(self._walk(limits, memory), frame_address, code_address)

    def signature(self, code_address: int) -> Signature | None:
        """The names of a code object's arguments and where they lie; None if there is no such code object.

        Raises:
            TargetGone, NoPrivilege
        """
        try:
            return signature(self._walk(None, None), code_address)
        except (Unreadable, Spent):
            return None

    def arguments_of(
        self, of: Signature, words: Sequence[int], *, limits: Limits | None = None, memory: Memory | None = None
    ) -> Iterator[tuple[str, str]]:
        """The same as ``arguments``, one by one, from the words of a frame that was captured.

        Args:
            of: of the code that it runs.
            words: the first ``of.words`` of ``localsplus``, or fewer.
        """
        return arguments_of(self._walk(limits, memory), of, words)

    def _walk(self, limits: Limits | None, memory: Memory | None) -> Walk:
        return Walk(
            self._known,
            memory or self._memory,
            limits or self._limits,
            _RENDERERS,
            self._clock,
            show_secrets=self._show_secrets,
        )
