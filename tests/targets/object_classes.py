"""Classes that keep the attributes of their instances, or have a ``repr``, each in its own way."""

import collections
import datetime
import enum


class Bare:
    pass


class User:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def greet(self):
        def inner():
            return self

        return inner

    @classmethod
    def make(cls):
        return cls()


class Point:
    __slots__ = ("_Point__hidden", "x", "y")

    def __init__(self, x, y):
        self.x = x
        self.y = y


class Point3(Point):
    __slots__ = ("z",)


class Tagged(Point):
    pass


class Loud:
    """Its ``__repr__`` is its own, and never asked."""

    def __init__(self):
        self.volume = 11

    def __repr__(self):
        return "LOUD"


class MyInt(int):
    pass


class MyFloat(float):
    pass


class MyStr(str):
    pass


class MyBytes(bytes):
    pass


class MyByteArray(bytearray):
    pass


class MyTuple(tuple):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class MySet(set):
    pass


class MyFrozenSet(frozenset):
    pass


class MyDate(datetime.date):
    pass


class MyDateTime(datetime.datetime):
    pass


class MyDelta(datetime.timedelta):
    pass


class LoudInt(int):
    def __repr__(self):
        return "LOUD"


class LoudList(list):
    __slots__ = ()

    def __repr__(self):
        return "LOUD"


class Failure(Exception):
    pass


class LoudFailure(Exception):
    def __repr__(self):
        return "LOUD"


Pair = collections.namedtuple("Pair", "a b")


class Color(enum.Enum):
    RED = 1
    GREEN = "green"
    DEEP = (1, [2])


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Zone(datetime.tzinfo):
    pass


class Meta(type):
    def __repr__(cls):
        return "META"


class Made(metaclass=Meta):
    pass


def plain(a, b=2):
    return a + b


def yielding():
    yield 1


async def awaiting():
    pass
