"""A shared library with USDT markers that is made at run time, in memory, and loaded: as libstapsdt does it.

Each marker is a function of a few nops, with no semaphore; its note names the argument registers of the System V ABI by
their 64-bit names, whatever the sizes of the arguments are.
"""

import struct

REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
CODE = b"\x90\x90\x90\x90\xc3"
PAGE = 4096
LOAD, DYNAMIC, STACK = 1, 2, 0x6474E551  # the last one: PT_GNU_STACK
PROGBITS, STRTAB, NOTE = 1, 3, 7


def made(provider, markers):
    """The file. ``markers``: {function: (marker, sizes of its arguments, below 0 if signed)}."""
    functions = list(markers)
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in functions)
    count = len(functions) + 1

    hash_at = 64 + 4 * 56
    chain = [*list(range(2, count)), 0]
    hash_table = struct.pack(f"<{2 + 1 + count}I", 1, count, 1, 0, *chain)
    symbols_at = aligned(hash_at + len(hash_table), 8)
    strings_at = symbols_at + 24 * count
    code_at = aligned(strings_at + len(strings), 16)
    base_at = code_at + 16 * len(functions)
    dynamic_at = aligned(base_at + 1, 8)
    pairs = [(4, hash_at), (5, strings_at), (6, symbols_at), (10, len(strings)), (11, 24), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *pair) for pair in pairs)
    notes_at = dynamic_at + len(dynamic)

    symbols, notes, code = bytes(24), b"", b""
    for number, function in enumerate(functions):
        at = code_at + 16 * number
        symbols += struct.pack("<IBBHQQ", strings.index(function.encode() + b"\0"), 0x12, 0, 1, at, len(CODE))
        notes += note(provider, at, base_at, *markers[function])
        code += CODE.ljust(16, b"\x90")
    names = b"\0.text\0.stapsdt.base\0.note.stapsdt\0.shstrtab\0"
    names_at = notes_at + len(notes)
    headers_at = aligned(names_at + len(names), 8)

    out = bytearray(headers_at)
    out[:64] = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 62, 1, 0, 64, headers_at, 0, 64, 56, 4, 64, 5, 4
    )
    out[64:hash_at] = (
        program(LOAD, 5, 0, 0, dynamic_at)
        + program(LOAD, 6, dynamic_at, PAGE + dynamic_at, len(dynamic))
        + program(DYNAMIC, 6, dynamic_at, PAGE + dynamic_at, len(dynamic), 8)
        # without it the stack would have to be executable, which glibc 2.41 refuses for what is loaded by a program
        + program(STACK, 6, 0, 0, 0, 16)
    )
    for at, data in (
        (hash_at, hash_table),
        (symbols_at, symbols),
        (strings_at, strings),
        (code_at, code),
        (dynamic_at, dynamic),
        (notes_at, notes),
        (names_at, names),
    ):
        out[at : at + len(data)] = data
    out += bytes(64)
    out += section(names, b".text", PROGBITS, 6, code_at, code_at, len(code))
    out += section(names, b".stapsdt.base", PROGBITS, 2, base_at, base_at, 1)
    out += section(names, b".note.stapsdt", NOTE, 0, notes_at, notes_at, len(notes))
    out += section(names, b".shstrtab", STRTAB, 0, 0, names_at, len(names))
    return bytes(out)


def note(provider, address, base, name, sizes):
    arguments = " ".join(f"{size}@%{register}" for size, register in zip(sizes, REGISTERS))
    texts = b"".join(text.encode() + b"\0" for text in (provider, name, arguments))
    description = struct.pack("<QQQ", address, base, 0) + texts
    whole = struct.pack("<III", 8, len(description), 3) + b"stapsdt\0" + description
    return whole + bytes(-len(whole) % 4)


def program(kind, flags, offset, address, size, align=PAGE):
    return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, align)


def section(names, name, kind, flags, address, offset, size):
    return struct.pack("<IIQQQQIIQQ", names.index(name + b"\0"), kind, flags, address, offset, size, 0, 0, 1, 0)


def aligned(place, to):
    return -(-place // to) * to
