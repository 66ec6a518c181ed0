"""Numbers, text and bytes (Include/cpython/longintrepr.h, unicodeobject.h, bytearrayobject.h; CPython 3.6 to 3.15)."""

from __future__ import annotations

import struct
from decimal import Decimal

from latency.cpython.hiding import without_secrets
from latency.cpython.values.memory import Unreadable
from latency.cpython.values.types import printable
from latency.cpython.values.walk import CUT, LARGEST, Object, Walk

_DIGIT_BITS = 30  # PyLong_SHIFT on every 64-bit machine; no build option of a distribution changes it
_ZERO, _NEGATIVE = 1, 2  # the lowest two bits of lv_tag, 3.12+
_SIZE_SHIFT = 3  # of lv_tag

_LATIN1, _UCS2, _UCS4 = 1, 2, 4


def integer(walk: Walk, found: Object) -> str:
    """An ``int``; one of more digits than the bound as its first digits in hexadecimal."""
    size, negative = _integer_size(walk, found)
    sign = "-" if negative else ""
    first = walk.offsets["long.digits"]
    limit = walk.limits.characters
    if size * _DIGIT_BITS <= 64 or size * 9 <= limit + 9:  # a digit has just over 9 decimal ones
        text = sign + _decimal(_value(walk, found, first, size))
        return text if size * _DIGIT_BITS <= 64 or len(text) <= limit else text[:limit] + CUT
    # The first digits of a decimal number depend on all the others; those of a hexadecimal one do not.
    top = min(size, limit * 4 // _DIGIT_BITS + 2)
    value = _value(walk, found, first + 4 * (size - top), top)
    shown = f"{value >> -(size - top) * _DIGIT_BITS % 4:#x}"
    return sign + shown[:limit] + CUT


def real(walk: Walk, found: Object) -> str:
    """A ``float``."""
    return repr(_double(walk, found, "float.value"))


def complex_number(walk: Walk, found: Object) -> str:
    """A ``complex``."""
    return repr(complex(_double(walk, found, "complex.real"), _double(walk, found, "complex.imag")))


def string(walk: Walk, found: Object) -> str:
    """A ``str``."""
    text, whole = characters(walk, found)
    if walk.hides:
        text = without_secrets(text, whole=whole)
    return repr(text) if whole else repr(text) + CUT


def name(walk: Walk, address: int) -> str:
    """The printable text of the ``str`` at an address. Raises Unreadable if there is none."""
    found = walk.object(address)
    if found.type.kind != "str":
        raise Unreadable
    text, whole = characters(walk, found)
    return printable(text) if whole else printable(text) + CUT


def characters(walk: Walk, found: Object) -> tuple[str, bool]:
    """(the text of a ``str`` up to the bound, whether that is all of it).

    Raises:
        Unreadable: the text is not what its head says of it, or was not made ready yet (to 3.11).
        Spent
    """
    length = walk.member(found, "unicode.length")
    # PyASCIIObject.state, from the lowest bit: interned:2 (or :8), kind:3, compact:1, ascii:1
    state = walk.member(found, "unicode.state") >> walk.offsets.string_kind << 2
    kind, compact, ascii_ = state >> 2 & 7, state >> 5 & 1, state >> 6 & 1
    if kind not in (_LATIN1, _UCS2, _UCS4) or (ascii_ and kind != _LATIN1) or length >= LARGEST:
        raise Unreadable
    shown = min(length, walk.limits.characters)
    size = (shown + (shown == length)) * kind  # with the NUL that ends every text
    if compact:
        data = walk.part(found, walk.offsets["unicode.ascii_data" if ascii_ else "unicode.compact_data"], size)
    else:
        data = walk.read_some(walk.member(found, "unicode.data_any"), size)
    count = min(shown, len(data) // kind)
    if (count == 0 and shown) or any(data[length * kind :]) or (ascii_ and not data.isascii()):
        raise Unreadable
    return _text(data[: count * kind], kind), count == length


def byte_string(walk: Walk, found: Object) -> str:
    """A ``bytes``."""
    size = walk.size(found)
    shown = min(size, walk.limits.characters)
    data = walk.part(found, walk.offsets["bytes.data"], shown + (shown == size))
    if (not data and shown) or any(data[size:]):
        raise Unreadable
    whole = len(data[:shown]) == size
    data = _shown(walk, data[:shown], whole=whole)
    return repr(data) if whole else repr(data) + CUT


def byte_array(walk: Walk, found: Object) -> str:
    """A ``bytearray``."""
    size = walk.size(found)
    shown = min(size, walk.limits.characters)
    data = walk.read_some(walk.member(found, "bytearray.start"), shown) if shown else b""
    if not data and shown:
        raise Unreadable
    class_name = found.type.name.rpartition(".")[2] if walk.known.minor >= 7 else "bytearray"
    whole = len(data) == size
    text = repr(_shown(walk, data, whole=whole))
    if text.startswith('b"') and walk.known.minor < 15:  # bytearray_repr escaped the other quote as well
        text = text.replace("'", "\\'")
    return f"{class_name}({text}{'' if whole else CUT})"


def _shown(walk: Walk, data: bytes, *, whole: bool) -> bytes:
    return without_secrets(data.decode("latin-1"), whole=whole).encode("latin-1") if walk.hides else data


def _integer_size(walk: Walk, found: Object) -> tuple[int, bool]:
    """(how many digits, whether it is negative)."""
    if "long.tag" in walk.offsets:
        tag = walk.member(found, "long.tag")
        size, negative = tag >> _SIZE_SHIFT, tag & 3 == _NEGATIVE
        right = tag & 3 != 3 and (size == 0) == (tag & 3 == _ZERO)
    else:
        signed = walk.member(found, "var.size", signed=True)
        size, negative, right = abs(signed), signed < 0, True
    if not right or size >= LARGEST:
        raise Unreadable
    return size, negative


def _value(walk: Walk, found: Object, offset: int, size: int) -> int:
    """The number whose digits lie at an offset, the lowest first; the highest of an ``int`` is never 0."""
    data = walk.part(found, offset, 4 * size)
    if len(data) != 4 * size:
        raise Unreadable
    value = 0
    digits = memoryview(data).cast("I")
    for digit in reversed(digits):
        if digit >> _DIGIT_BITS:
            raise Unreadable
        value = value << _DIGIT_BITS | digit
    if size and not digits[-1]:
        raise Unreadable
    return value


def _decimal(value: int) -> str:
    # str() refuses numbers of more than 4,300 digits (3.10.7+), Decimal does not.
    return str(value) if value.bit_length() < 2_000 else str(Decimal(value))


def _double(walk: Walk, found: Object, meaning: str) -> float:
    number: float = struct.unpack("<d", walk.member(found, meaning).to_bytes(8, "little"))[0]
    return number


def _text(data: bytes, kind: int) -> str:
    if kind == _LATIN1:
        return data.decode("latin-1")
    try:
        # Not as UTF-16 or UTF-32: two lone surrogates are two characters here, and remain so.
        return "".join(map(chr, memoryview(data).cast("H" if kind == _UCS2 else "I")))
    except (ValueError, OverflowError):
        raise Unreadable from None
