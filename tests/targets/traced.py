"""Calls to be traced, with a log of their own.

traced.py WHAT [COUNT]

``run`` answers with the log of one run: ``[[what, qualname, line, texts, …], …]`` in the order in which it happened.

values     COUNT calls with values of every kind as arguments, which are returned: the texts of both
changing   COUNT calls whose arguments and results change, and are freed, right after they were seen
calls      recursion, exceptions, ``finally``, generators, constants: [kind, qualname, line, text]
threads    COUNT calls in each of 4 threads: nothing
hostile    calls with objects that are corrupted while the call goes on: how many
"""

import ctypes
import gc
import sys
import threading

from object_classes import User
from protocol import serve
from random_objects import SPECIAL_FLOATS, any_value, seed

WHAT = sys.argv[1]
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 100
KEPT = []
LOG = []


def same(value):
    return value


def echo(value, *more, key=None, **others):
    return (value, more, key, others)


def special():
    itself = [1]
    itself.append(itself)
    mapping = {"a": 1}
    mapping["self"] = mapping
    values = [itself, mapping, None, True, 10**100, -(10**100), 10**4000, "", "x" * 100000, b"y" * 5000, "\ud83d\ude00"]
    values += ["\udcff", "a\ud800", "\x1b[2J\r\n", "处理请求", "\U0001f600" * 300, (), [], {}, set(), [[], [[]]]]
    values += [
        list(range(1000)),
        {str(i): i for i in range(100)},
        set(range(40)),
        [[[[[[[[[1]]]]]]]]],
        ValueError("x", 1),
    ]
    return [*values, *SPECIAL_FLOATS]


def values():
    del KEPT[:]
    pool = special()
    for number in range(COUNT):
        value = pool[number] if number < len(pool) else any_value(2 if number % 20 == 0 else 0)
        if number % 10:
            KEPT.append(([value], same(value)))
        else:  # in the order in which the code names them
            more = {"other": number}
            KEPT.append(([value, number, (None,), more], echo(value, None, key=number, **more)))
    return [[[repr(it) for it in arguments], repr(result)] for arguments, result in KEPT]


def change(text, items, user):
    items[:] = ["changed"] * 3
    user.name = "changed"
    user.items = items
    text = items = user = None
    return [text, items, user]


def make(number):
    return ["made", number, {"key": str(number)}]


def changing():
    log = []
    for number in range(COUNT):
        items, user = [number, "item " + str(number), (number,)], User(name="user", number=number)
        log.append([repr("text " + str(number)), repr(items), "name='user' number=" + str(number)])
        change("text " + str(number), items, user)
        made = make(number)
        log[-1].append(repr(made))
        made[:] = ["changed"]
        del made, items, user
    return log


def note(kind, function, text=None):
    LOG.append([kind, getattr(function, "__qualname__", function.__name__), function.__code__.co_firstlineno, text])


def descend(depth):
    note("start", descend, "depth=" + str(depth))
    result = descend(depth - 1) + 1 if depth else 0
    note("return", descend, str(result))
    return result


def failing(how):
    note("start", failing, "how=" + repr(how))
    note("raise", failing, {"raise": "KeyError", "divide": "ZeroDivisionError", "attribute": "AttributeError"}[how])
    if how == "raise":
        raise KeyError(how)
    if how == "divide":
        return 1 // 0
    return None.missing


def overridden():
    note("start", overridden, "")
    note("return", overridden, "'finally'")
    try:
        try:
            return "try"
        finally:
            raise KeyError
    except KeyError:
        return "finally"


def constant():
    return "a constant"


def nothing():
    pass


def counting(limit):
    note("start", counting, "limit=" + str(limit))
    for number in range(limit):
        note("yield", counting)
        yield number
        note("resume", counting)
    note("return", counting, repr("end"))
    return "end"


class Api:
    @classmethod
    def get(cls, id, *, deep=False):
        note("start", Api.get, f"cls=<class '__main__.Api'> id={id} deep={deep}")

        def inner():
            note("start", inner, "")
            note("return", inner, str(id))
            return id

        result = inner()
        note("return", Api.get, str(result))
        return result


def calls():
    del LOG[:]
    descend(3)
    for how in ("raise", "divide", "attribute"):
        try:
            failing(how)
        except (KeyError, ZeroDivisionError, AttributeError):
            pass
    overridden()
    for function, text in ((constant, "'a constant'"), (nothing, "None")):
        note("start", function, "")
        note("return", function, text)
        function()
    for _ in counting(2):
        pass
    Api.get(7, deep=True)
    return LOG


def work(number):
    return number


def threads():
    def worker():
        for number in range(COUNT):
            work(number)

    running = [threading.Thread(target=worker) for _ in range(4)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return []


def receive(broken):
    return broken


def hostile():
    """The interpreter itself only counts references to what it passes on, and never looks inside."""
    gc.disable()
    victims = [[1, 2, 3], (1, 2, 3), "text", "\u4e00", {"a": 1}, {1}, 10**30, b"bytes", 1.5, User(a=1), ValueError(1)]
    words = [0, 1, 7, 1 << 39, 1 << 62, 1 << 63, (1 << 64) - 1, (1 << 63) - 8, 0x1000, id(victims), id(victims) + 4]
    words += [id(int), id("\x1b[31m\x1b]0;owned\x07"), ctypes.addressof(ctypes.c_uint64(1 << 63))]
    # a type that is none any more, and one that is its own base, instance and dictionary
    page = ctypes.create_string_buffer(4096)
    base = (ctypes.addressof(page) + 63) & ~63
    for offset in range(0, 2048, 8):
        ctypes.c_uint64.from_address(base + offset).value = base
    words.append(base)
    count = 0
    type_at = object.__basicsize__ // 8 - 1  # before it are reference counts, which the interpreter does look at
    for victim in victims:
        for index in range(type_at, type_at + 5):
            if 8 * (index + 1) > sys.getsizeof(victim) and index > type_at + 1:
                continue
            place = ctypes.c_uint64.from_address(id(victim) + 8 * index)
            before = place.value
            for word in words:
                place.value = word
                receive(victim)
                place.value = before
                count += 1
    deep = []
    for _ in range(10000):
        deep = [deep]
    receive(deep)
    while deep:
        deep = deep.pop()
    return count + 1


if __name__ == "__main__":
    seed(1)
    serve({"values": values, "changing": changing, "calls": calls, "threads": threads, "hostile": hostile}[WHAT])
