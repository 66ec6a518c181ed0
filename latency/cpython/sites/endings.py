"""Where frames end by a return or an exception, 3.11 and later: all the ways out, proven on the code.

    3.11            RETURN_VALUE and exit_unwind ask ``frame->is_entry``, each of them once or several times
    3.12 and later  _PyEval_FrameClearAndPop(tstate, frame) is called, once for each return and each exception; where a
                    compiler inlined it, each copy begins by asking ``frame->owner``

An end is such a call or question. Every way from the handlers that return leads to one, and so does every way by which
an exception leaves the function (RAISE_VARARGS goes nowhere else but to exit_unwind, or on in its frame). Each question
belongs to returns or to exceptions, and has a site on the jump by its answer. What cannot be shown so is refused.

Source: Python/ceval.c (_PyEval_FrameClearAndPop, clear_thread_frame, exit_unwind), Python/bytecodes.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from latency.cpython.offsets import Offsets
from latency.cpython.sites.code import (
    Instruction,
    Line,
    copies,
    first_emulated,
    memory,
    register,
    slot_of,
    target,
    written,
)
from latency.cpython.sites.dispatch import Handlers, refused
from latency.cpython.sites.flow import Flow
from latency.cpython.sites.holding import changes
from latency.cpython.sites.plan import Place, Role, Site

CLEAR = ("_PyEval_FrameClearAndPop", "_PyEvalFrameClearAndPop")  # exported from 3.13; local in 3.12

RETURNS = ("RETURN_VALUE", "RETURN_CONST")
_INSTRUMENTED = tuple(map("INSTRUMENTED_{}".format, RETURNS))
_RAISES = ("RAISE_VARARGS", "RERAISE")
_CALLS = ("CALL", "CALL_PY_EXACT_ARGS", "BINARY_SUBSCR_GETITEM", "CALL_FUNCTION_EX")  # refused at the recursion limit
_ANSWER_LIMIT, _COUNT_LIMIT = 5, 8  # instructions from a question to its jump, and back to the recursion counter
_LOAD_LIMIT = 32  # and back to where a register was loaded


@dataclass(frozen=True)
class Endings:
    """The ends of frames.

    Attributes:
        lines: all of them, by address: calls of ``clear``, and questions.
        plain: of RETURN_VALUE and RETURN_CONST; ``returns`` of all that return; ``raises`` of exceptions.
        clear: address of the function that every frame, or those that have no copy of it, ends in; 0 for none.
        name: its name.
    """

    lines: Mapping[int, Line]
    plain: frozenset[int]
    returns: Mapping[int, str]
    raises: frozenset[int]
    clear: int
    name: str

    @property
    def questions(self) -> list[int]:
        """Those that are no calls."""
        return sorted(at for at, line in self.lines.items() if line.mnemonic == "cmp")


def endings(found: Handlers, offsets: Offsets) -> Endings:
    """Find them all. Raises UnsupportedBuild where a way out has none, or an end is of neither."""
    clear, name = (0, "") if "frame.is_entry" in offsets else clear_function(found, offsets)
    calls = _calls_of(found, clear)
    question = _question(offsets)

    def ends(line: Line) -> bool:
        if line.mnemonic == "cmp":
            return question.fullmatch(line.operands) is not None
        return line.operands in calls or _calls_through_a_slot(found, line, clear)

    flow = Flow(found, ends)
    raises = frozenset(at for name in _RAISES for at in _of_exceptions(found, flow, name))
    returns: dict[int, str] = {}
    plain: frozenset[int] = frozenset()
    for name_of_opcode in (*RETURNS, *_INSTRUMENTED):
        if name_of_opcode in found.by_name:
            own = _of_returns(found, flow, name_of_opcode, raises)
            returns = {**dict.fromkeys(own, name_of_opcode), **returns}
            plain |= own if name_of_opcode in RETURNS else frozenset()
    generators = flow.ways(found.by_name["RETURN_GENERATOR"]).ends - raises - returns.keys()
    result = Endings(flow.at_ends, plain, returns, raises, clear, name)
    left = {at for at in result.questions if at not in returns} - raises - generators
    if left:
        refusals = {at for each in _CALLS if each in found.by_name for at in flow.ways(found.by_name[each]).ends}
        if refusals & returns.keys() or left - refusals:
            raise _unseen(found, min(left - refusals or left))
        raises |= left
    return replace(result, raises=raises)


def _question(offsets: Offsets) -> re.Pattern[str]:
    """What asks whose frame it is."""
    # is_entry is a bool, which can be compared with either; owner is asked for FRAME_OWNED_BY_THREAD
    member, answer = ("frame.is_entry", "[01]") if "frame.is_entry" in offsets else ("frame.owner", "0")
    return re.compile(rf"byte ptr \[r(?!sp|ip)\w+ \+ {offsets[member]:#x}\], {answer}")


def sites_of_questions(found: Handlers, offsets: Offsets) -> Iterator[tuple[Site, str]]:
    """(the site on the jump by its answer, the register of the frame there) of each question in the handlers' code,
    whoever comes to it."""
    question = _question(offsets)
    for line in found.sweep.lines:
        if line.mnemonic == "cmp" and question.fullmatch(line.operands):
            yield _at_answer(found, Role.RETURN, "a copy", line.address)


def ending_sites(found: Handlers, offsets: Offsets, ends: Endings) -> tuple[list[Site], dict[str, Place]]:
    """(a site for each end, or one in the function that is called at some of them; the places to read there).

    Raises:
        UnsupportedBuild: at two questions of one role the frame is in different places.
    """
    sites: list[Site] = []
    places: dict[str, Place] = {}
    if ends.clear:
        sites.append(_clear_site(found, ends))
        places |= {"exit.frame": Place("rsi"), "exit.tstate": Place("rdi")}  # its arguments
    alternatives: dict[str, list[list[Place]]] = {}
    for question in sorted(ends.questions, key=lambda at: (at not in ends.returns, at)):
        if question in ends.returns:
            site, register = _at_answer(found, Role.RETURN, ends.returns[question], question)
        elif question in ends.raises:
            site, register = _at_answer(found, Role.RAISE, "exit_unwind", question)
            state = _thread_state(found, offsets, question, site.address)
            alternatives.setdefault("raise.tstate", []).append(state)
        else:  # a generator is created: no call ends
            continue
        word = _of_the_stack(found, register, question, site.address)
        frame = [Place(register), *([word] if word else [])]
        alternatives.setdefault(f"{site.role.value}.frame", []).append(frame)
        sites.append(site)
    places |= {name: _common(found, name, each) for name, each in alternatives.items()}
    return sites, places


def _common(found: Handlers, name: str, alternatives: list[list[Place]]) -> Place:
    """The place that is one at each site of a role: the register, or the word of the stack that it was loaded from."""
    for place in alternatives[0]:
        others = [each for each in alternatives if place not in each]
        if not others:
            return place
    first = alternatives[0][0]
    other = next(each[0] for each in alternatives if first not in each)
    raise refused(found.code.image, f"has its {name} in {first} at one site and in {other} at another one")


# -- the ways out ------------------------------------------------------------------------------------


def _of_exceptions(found: Handlers, flow: Flow, name: str) -> frozenset[int]:
    """The ends that an exception can come to."""
    ways = flow.ways(found.by_name[name])
    if ways.returns or not ways.ends:
        raise _unseen(found, min(ways.returns or {found.by_name[name]}), f" by an exception ({name})")
    return ways.ends


def _of_returns(found: Handlers, flow: Flow, name: str, raises: frozenset[int]) -> frozenset[int]:
    """The ends that an opcode comes to which returns. A callback of an instrumented one can fail: then there is an
    exception, which may be caught in the same frame."""
    ways = flow.ways(found.by_name[name])
    own = ways.ends - raises
    others = {found.by_name[each] for each in (*RETURNS, *_INSTRUMENTED) if each in found.by_name}
    lost = set(ways.returns)
    if name in RETURNS:
        lost |= ways.dispatches | (ways.handlers - others)
    if lost or not (own or ways.handlers & others):
        raise _unseen(found, min(lost or {found.by_name[name]}), f" in {name}")
    return own


def _unseen(found: Handlers, address: int, where: str = "") -> Exception:
    return refused(found.code.image, f"leaves frames{where} in a way that pylat does not know, at {address:#x}")


# -- the function --------------------------------------------------------------------------------------


def clear_function(found: Handlers, offsets: Offsets) -> tuple[int, str]:
    """(address, name) of the function that every frame ends in; 0 where the interpreter holds nothing but copies."""
    image = found.code.image
    symbols = image.symbols(CLEAR)
    name = next((name for name in CLEAR if name in symbols), "")
    start = symbols[name].address if name else _called_on_return(found, offsets)
    if start and not any(
        _asks_owner(step, held, offsets) for step, held in copies(found.code.straight(start, limit=40), "rsi")
    ):
        if name:
            raise refused(image, f"has a {name} that does not look at frame->owner at {start:#x}")
        return 0, ""
    return start, name or CLEAR[1]


def _called_on_return(found: Handlers, offsets: Offsets) -> int:
    """3.12, stripped: the first call behind ``tstate->py_recursion_remaining++`` on RETURN_VALUE's path; 0: none."""
    counted = False
    for step in found.code.straight(found.by_name["RETURN_VALUE"], limit=64, follow=True):
        place = memory(step, 0)
        counted = counted or bool(
            step.mnemonic in ("add", "inc", "mov") and place and place[1] == offsets["tstate.recursion"]
        )
        if counted and step.mnemonic == "call":
            return target(step) or 0
    return 0


def _asks_owner(step: Instruction, holders: Iterable[str], offsets: Offsets) -> bool:
    place = memory(step, 0)
    return step.mnemonic == "cmp" and place is not None and place[0] in holders and place[1] == offsets["frame.owner"]


def _calls_of(found: Handlers, clear: int) -> frozenset[str]:
    """The operands of its calls in the interpreter: its address, or that of what goes on there (the linkage table)."""
    if not clear:
        return frozenset()
    operands = {line.operands for line in found.sweep.lines if line.mnemonic in ("call", "jmp")}
    if f"{clear:#x}" in operands:
        return frozenset({f"{clear:#x}"})
    stubs = {each for each in operands if each.startswith("0x") and found.code.lands(int(each, 16)) == clear}
    return frozenset({*stubs, f"{clear:#x}"})


def _calls_through_a_slot(found: Handlers, line: Line, clear: int) -> bool:
    """Whether this calls the function by its word of the global offset table (``-fno-plt``)."""
    slot = slot_of(line) if clear else None
    bound = found.code.image.bound_symbol(slot) if slot is not None else None
    return bound is not None and bound.address == clear


def _clear_site(found: Handlers, ends: Endings) -> Site:
    """The function's first emulated instruction with both arguments where they were given."""
    steps = list(found.code.straight(ends.clear, limit=24))
    states = (held for _, held in copies(steps, "rdi"))
    chosen = first_emulated(
        copies(steps, "rsi"),
        lambda step, held: (
            "rsi" in held and "rdi" in next(states) and not found.sweep.jumps_into(ends.clear + 1, step.address)
        ),
    )
    return found.code.site(Role.EXIT, ends.name, ends.clear, chosen[0] if chosen else steps[0])


# -- the questions -------------------------------------------------------------------------------------


def _at_answer(found: Handlers, role: Role, name: str, question: int) -> tuple[Site, str]:
    """(the site on the jump by a question's answer, the register of the frame there)."""
    asked = memory(found.code.at(question), 0)
    frame = asked[0] if asked else ""
    for step in found.code.straight(question, limit=_ANSWER_LIMIT):
        if found.sweep.jumps_into(question + 1, step.address) or step.mnemonic == "call":
            break
        if step.mnemonic.startswith("j"):
            start = found.by_name.get(name, question)
            return found.code.site(role, name, min(start, question), step), frame
        if frame in written(step):
            break
    raise refused(
        found.code.image, f"asks whose frame it is at {question:#x}, and does not answer where pylat can follow"
    )


def _thread_state(found: Handlers, offsets: Offsets, question: int, answer: int) -> list[Place]:
    """Where the thread state is at the jump by a question's answer: the recursion was counted in it just before
    (``_Py_LeaveRecursiveCall``). If its register is another's by then, it is still where that was loaded from."""
    lines = found.lines_before(answer, _COUNT_LIMIT + _ANSWER_LIMIT)
    for line in reversed(lines):
        step = found.code.at(line.address)
        counted = memory(step, 0)
        stores = step.mnemonic in ("inc", "add") or (step.mnemonic == "mov" and register(step, 1) is None)
        if stores and counted and counted[1] == offsets["tstate.recursion"] and counted[0] not in ("rsp", "rip"):
            kept = _still_there(found, Place(counted[0]), line.address, answer)
            word = _of_the_stack(found, counted[0], line.address, answer)
            if kept or word:
                return [place for place in (kept, word) if place]
            break
        if line.address < question and (line.mnemonic[0] == "j" or line.mnemonic in ("call", "ret")):
            break
    raise refused(found.code.image, f"ends a frame at {question:#x} and does not show the thread state there")


def _still_there(found: Handlers, place: Place, since: int, until: int) -> Place | None:
    """The place, if nobody changes it on the straight line between two instructions, the first one included, nor comes
    into the midst of that."""
    if any(since < start <= until for start in found.starts):
        return None
    for step in found.code.straight(since, limit=2 * _LOAD_LIMIT):
        if step.address >= until:
            reached = step.address == until
            return place if reached and not found.sweep.jumps_into(since + 1, until) else None
        if changes(step, place):
            return None
    return None


def _of_the_stack(found: Handlers, wanted: str, at: int, until: int) -> Place | None:
    """The word of the machine's stack that a register was loaded from before one instruction, if it holds that still
    at another."""
    for line in reversed(found.lines_before(at, _LOAD_LIMIT)):
        step = found.code.at(line.address)
        if wanted in written(step):
            loaded = memory(step, 1) if step.mnemonic == "mov" and register(step, 0) == wanted else None
            stack = loaded and (loaded[0] == "rsp" or (loaded[0] == "rbp" and found.frame_pointer))
            word = Place(loaded[0], (loaded[1],)) if loaded and stack else None
            return word and _still_there(found, word, line.address, until)
        if line.mnemonic.split()[-1] in ("jmp", "call", "ret"):
            return None
    return None
