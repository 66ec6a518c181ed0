"""Random values of the types of the language, nested: ``any_value()``, after ``seed(number)``."""

import datetime
import math
import random
import struct
import sys

from object_classes import Color, Failure, Level

# Characters that were given their meaning long before the oldest CPython here, and those that never get one.
RANGES = (
    (0x00, 0x7F),
    (0x80, 0xFF),
    (0x100, 0x17F),
    (0x4E00, 0x9FA5),
    (0x2028, 0x202F),
    (0xD800, 0xDFFF),
    (0xE000, 0xE0FF),
    (0xFFF9, 0xFFFD),
    (0x1D400, 0x1D454),
    (0x1F600, 0x1F640),
    (0x10FF00, 0x10FFFF),
)
SPECIAL_FLOATS = (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, sys.float_info.max, 0.1, 1e16, 1e22)
RANDOM = random.Random()
seed = RANDOM.seed


def any_text():
    low, high = RANDOM.choice(RANGES)
    mixed = RANDOM.random() < 0.2
    length = RANDOM.choice((0, 1, 2, 5, 20, 60, 200))
    return "".join(chr(RANDOM.randint(*(RANDOM.choice(RANGES) if mixed else (low, high)))) for _ in range(length))


def any_integer():
    number = RANDOM.getrandbits(RANDOM.choice((1, 4, 8, 16, 30, 31, 60, 64, 100, 400)))
    return -number if RANDOM.random() < 0.4 else number


def any_float():
    if RANDOM.random() < 0.2:
        return RANDOM.choice(SPECIAL_FLOATS)
    return struct.unpack("<d", struct.pack("<Q", RANDOM.getrandbits(64)))[0]


def any_zone():
    minutes = RANDOM.randint(-1439, 1439)
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    return RANDOM.choice((None, datetime.timezone.utc, zone))


def any_time():
    parts = [RANDOM.randrange(24), RANDOM.randrange(60), RANDOM.randrange(60), RANDOM.randrange(10**6)]
    parts[RANDOM.randint(2, 4) :] = []
    return datetime.time(*parts, tzinfo=any_zone(), fold=RANDOM.randrange(2))


def any_date():
    return datetime.date.fromordinal(RANDOM.randint(1, datetime.date.max.toordinal()))


def any_delta():
    return datetime.timedelta(
        RANDOM.randint(-(10**6), 10**6), RANDOM.choice((0, 1, 86399)), RANDOM.choice((0, 7, 10**6 - 1))
    )


def any_bytes():
    return bytes(RANDOM.getrandbits(8) for _ in range(RANDOM.choice((0, 1, 7, 40, 300))))


LEAVES = (
    any_integer,
    any_integer,
    any_float,
    any_text,
    any_text,
    any_bytes,
    any_date,
    any_time,
    any_delta,
    lambda: complex(any_float(), any_float()),
    lambda: bytearray(any_bytes()),
    lambda: datetime.datetime.combine(any_date(), any_time()),
    lambda: RANDOM.choice((None, True, False, Color.RED, Level.LOW, len, int)),
)


def any_key():
    return RANDOM.choice((any_text, any_text, any_integer, any_bytes, any_date, lambda: (any_integer(), any_text())))()


def any_mapping(depth):
    found = {(any_text if RANDOM.random() < 0.5 else any_key)(): any_value(depth) for _ in range(any_length())}
    for key in list(found):
        if RANDOM.random() < 0.2:
            del found[key]
    return found


def any_set():
    found = set(any_key() for _ in range(any_length() * 3))
    for key in list(found):
        if RANDOM.random() < 0.2:
            found.remove(key)
    return found if RANDOM.random() < 0.5 else frozenset(found)


def any_length():
    return RANDOM.choice((0, 1, 2, 3, 5, 9, 17))


def any_value(depth=3):
    kind = RANDOM.random() if depth else 0
    if kind < 0.6:
        return RANDOM.choice(LEAVES)()
    if kind < 0.7:
        return [any_value(depth - 1) for _ in range(any_length())]
    if kind < 0.8:
        return tuple(any_value(depth - 1) for _ in range(any_length()))
    if kind < 0.9:
        return any_mapping(depth - 1)
    if kind < 0.95:
        return any_set()
    return RANDOM.choice((ValueError, Failure))(*[any_value(depth - 1) for _ in range(RANDOM.randrange(3))])
