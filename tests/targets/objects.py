"""Objects of every kind that pylat describes, each with the text that it must be described by.

Speaks the protocol: each ``run`` answers with ``[[address, text], …]`` and keeps those objects alive until the next
one. The first holds one of each kind, all others random ones.

objects.py [SEED [COUNT]]
"""

import asyncio
import builtins
import collections
import datetime
import enum
import functools
import json
import math
import sys

from object_classes import (
    Access,
    Bare,
    Color,
    Failure,
    Level,
    Loud,
    LoudFailure,
    LoudInt,
    LoudList,
    Made,
    MyByteArray,
    MyBytes,
    MyDate,
    MyDateTime,
    MyDelta,
    MyDict,
    MyFloat,
    MyFrozenSet,
    MyInt,
    MyList,
    MySet,
    MyStr,
    MyTuple,
    Pair,
    Point,
    Point3,
    Tagged,
    User,
    Zone,
    awaiting,
    plain,
    yielding,
)
from protocol import serve
from random_objects import SPECIAL_FLOATS, any_value, seed

SEED = int(sys.argv[1]) if len(sys.argv) > 1 else 1
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
KEPT = []
NEVER_AWAITED = []


def never_awaited():
    NEVER_AWAITED.append(awaiting())
    return NEVER_AWAITED[0]


def at(value, attributes="", name=None):
    """What an object is described by when its ``repr`` is not that of a type of the language."""
    type_ = type(value)
    name = name or type_.__module__ + "." + type_.__qualname__
    return f"<{name} at {id(value):#x}{attributes}>"


def containing_itself():
    found = []
    items = [1]
    items.append(items)
    found.append(items)
    mapping = {"a": 1}
    mapping["self"] = mapping
    found.append(mapping)
    pair = ([], 2)
    pair[0].append(pair)
    found.append(pair)
    both = [{"list": None}]
    both[0]["list"] = both
    found.append(both)
    return found


def same():
    """One of each kind that is described by its own ``repr``."""
    values = [None, True, False, Ellipsis, NotImplemented]
    for bits in (0, 1, 8, 15, 29, 30, 31, 59, 60, 61, 63, 64, 89, 90, 91, 332, 2000, 12000):
        values += [2**bits, 2**bits - 1, 2**bits + 1, -(2**bits), 1 - 2**bits]
    values += [10**100, -(10**100), 10**4000]
    values += list(SPECIAL_FLOATS) + [-value for value in SPECIAL_FLOATS]
    values += [complex(a, b) for a in SPECIAL_FLOATS for b in (0.0, -0.0, 1.5, -math.inf, math.nan)]
    values += ["", "a", "it's", 'say "x"', "both ' and \"", "\\", "\x00\x1b[2J\r\n\t\x7f", "é", "ÿ" * 300, "\u0100"]
    values += ["处理请求", "\U0001f600", "\ud83d\ude00", "\udcff", "a\ud800", "\uffff\U0010ffff", "x" * 100000]
    values += [b"", b"it's \x00\xff", b"x" * 100000, bytearray(), bytearray(b"'\"\x00"), bytearray(b"y" * 5000)]
    shifted = bytearray(b"0123456789")
    del shifted[:3]
    values += [shifted, (), (1,), (1, 2), [], [[]], [[], [[]]], {}, {1: {}}, set(), frozenset(), {1, "a"}]
    values += [frozenset([1]), {frozenset([2])}, list(range(1000)), tuple(range(300)), set(range(1000))]
    values += [{str(i): i for i in range(1000)}, {i: str(i) for i in range(70000)}, dict.fromkeys(range(6))]
    values += [vars(User(id=7, name="Ada")), vars(Bare()), vars(sys.modules["protocol"])["Scenarios"]]
    values += containing_itself()
    values += [datetime.date(1, 1, 1), datetime.date.max, datetime.datetime.min, datetime.datetime.max]
    values += [datetime.datetime(2026, 11, 23, 5), datetime.datetime(2026, 11, 23, 5, 6, 7, fold=1)]
    values += [datetime.time(), datetime.time(1, 2, 3), datetime.time(1, 2, 3, 4), datetime.time(0, 0, 0, 4, fold=1)]
    values += [datetime.timedelta.min, datetime.timedelta.max, datetime.timedelta(), datetime.timedelta(1, 0, 3)]
    values += [datetime.timedelta(seconds=-1), datetime.timezone.utc, datetime.timezone.max]
    east = datetime.timezone(datetime.timedelta(hours=2), "CEST")
    values += [east, datetime.datetime(2026, 1, 1, tzinfo=east), datetime.time(1, tzinfo=datetime.timezone.utc)]
    values += [MyInt(5), MyInt(-(10**50)), MyFloat(0.5), MyStr("日本"), MyStr(""), MyStr("x" * 500), MyBytes(b"x\x00")]
    values += [MyByteArray(b"z"), MyTuple((1,)), MyTuple(), MyList([1]), MyDict(a=1), MySet([1]), MySet()]
    values += [MyFrozenSet([1]), MyFrozenSet()]
    values += [MyDate(2020, 2, 29), MyDateTime(2020, 2, 29, 1), MyDelta(3)]
    values += [Color.RED, Color.GREEN, Color.DEEP, Level.HIGH, Access.READ]
    values += [ValueError(), ValueError("x"), KeyError("a", 2), Failure("y"), OSError(2, "gone"), StopIteration([1])]
    values += [plain, User.greet, User().greet(), (lambda: 1), len, [].append, dict.fromkeys, User(id=1).make]
    values += [
        MyStr("q").upper,
        plain.__code__,
        yielding(),
        never_awaited(),
        json,
        sys,
        functools,
        sys.modules["__main__"],
    ]
    values += [int, object, type, type(None), User, functools.partial, datetime.datetime, asyncio.Future]
    values += [type("Named", (), {"__module__": "elsewhere"}), type("Bare", (), {"__module__": "builtins"})]
    if sys.version_info >= (3, 11):
        values.append(Access.READ | Access.WRITE)
    if hasattr(builtins, "frozendict"):  # 3.15
        values += [builtins.frozendict(), builtins.frozendict(a=1, b=[2])]
    return values


def described():
    """(an object, its text) of each kind that is described in pylat's own words."""
    user, loud, point, deep = User(id=7, name="Ada"), Loud(), Point(1, "y"), Point3(1, 2)
    pairs = [(user, " id=7 name='Ada'"), (loud, " volume=11"), (point, " x=1 y='y'"), (Bare(), "")]
    deep.z = 3.5
    pairs.append((deep, " x=1 y=2 z=3.5"))
    tagged = Tagged(1, 2)
    tagged.tag = None
    pairs.append((tagged, " tag=None x=1 y=2"))
    changed = User(a=1, b=2, c=3)
    del changed.b
    changed.d = 4
    changed.b = 5
    pairs.append((changed, " a=1 c=3 d=4 b=5"))
    seen = User()
    seen.one = 1
    vars(seen)["two"] = 2
    pairs.append((seen, " one=1 two=2"))
    replaced = Bare()
    replaced.gone = 1
    replaced.__dict__ = {"kept": 1, 2: 3}
    pairs.append((replaced, " kept=1 2=3"))
    many = Bare()
    for number in range(100):
        setattr(many, "a" + str(number), number)
    pairs.append((many, "".join(f" a{number}={number}" for number in range(100))))
    ordered = []
    for order in ("xyz", "zyx", "yzx"):  # keys that are shared, in orders that differ
        value = Bare()
        for letter in order:
            setattr(value, letter, letter)
        ordered.append((value, "".join(f" {letter}='{letter}'" for letter in order)))
    pairs += ordered
    slotted = Point.__new__(Point)
    slotted.y = 1
    pairs.append((slotted, " y=1"))
    strange = User(**{"\x1b[2J": 1, "größe": 2})
    pairs.append((strange, " \\x1b[2J=1 größe=2"))
    number, items, failure = LoudInt(2**100), LoudList([1]), LoudFailure("x")
    number.unit = "m"
    failure.code = 3
    pairs += [(number, f" int={2**100} unit='m'"), (items, " list=[1]"), (failure, " args=('x',) code=3")]
    pairs += [(Pair(1, "b"), " tuple=(1, 'b')"), (collections.OrderedDict(a=1), " dict={'a': 1}"), (Made(), "")]
    pairs.append((object(), ""))
    texts = [(value, at(value, text)) for value, text in pairs[:-1]]
    texts.append((pairs[-1][0], at(pairs[-1][0], name="object")))
    texts += [(range(3), None), (slice(1), None), (iter([]), None), (memoryview(b""), None)]
    texts = [(value, text or at(value, name=type(value).__name__)) for value, text in texts]
    own = User(id=1)
    own.self = own
    texts.append((own, at(own, " id=1 self=" + at(own, " ..."))))
    texts.append(([user], "[" + texts[0][1] + "]"))
    texts.append((user.greet, "<bound method User.greet of " + texts[0][1] + ">"))
    texts.append((Made, "<class 'object_classes.Made'>"))
    texts += [(Color, "<class 'object_classes.Color'>"), (enum.Enum, "<class 'enum.Enum'>")]
    if hasattr(builtins, "ExceptionGroup"):  # 3.11; with its own repr in late releases of 3.13
        group = builtins.ExceptionGroup("m", [ValueError(1)])
        inherited = type(group).__repr__ is BaseException.__repr__
        texts.append((group, repr(group) if inherited else at(group, " args=('m', [ValueError(1)])", "ExceptionGroup")))
    local = datetime.datetime(2020, 1, 2, 3, 4, tzinfo=Zone())
    texts.append((local, "datetime.datetime(2020, 1, 2, 3, 4, tzinfo=" + at(local.tzinfo) + ")"))
    odd = type("odd\x1b[2J", (), {})
    texts.append((odd, "<class '__main__.odd\\x1b[2J'>"))
    return texts


def run():
    if not KEPT:
        KEPT.extend([[(value, repr(value)) for value in same()] + described()])
    else:
        KEPT[:] = [[(value, repr(value)) for value in (any_value() for _ in range(COUNT))]]
    return [[id(value), text] for value, text in KEPT[0]]


if __name__ == "__main__":
    seed(SEED)
    serve(run)
    for coroutine in NEVER_AWAITED:
        coroutine.close()
