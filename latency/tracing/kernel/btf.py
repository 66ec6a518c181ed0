"""Where members of the running kernel's structs lie, from its BTF (Linux Documentation/bpf/btf.rst)."""

from __future__ import annotations

import struct
from pathlib import Path

from latency.errors import KernelTooOld

VMLINUX = Path("/sys/kernel/btf/vmlinux")
_HEADER = struct.Struct("<HBBIIIII")  # magic, version, flags, header length, type offset and length, string ones
_TYPE = struct.Struct("<III")  # name, info, size or type
_MEMBER = struct.Struct("<III")  # name, type, offset in bits
_MAGIC = 0xEB9F
_STRUCT = 4
# Bytes behind the head of a type, by its kind: fixed, and for each of the `vlen` entries.
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}  # INT, ARRAY, VAR, DECL_TAG
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}  # STRUCT, UNION, ENUM, FUNC_PROTO, DATASEC, ENUM64


def member_offset(struct_name: str, member: str, *, path: Path = VMLINUX) -> int:
    """The offset in bytes of a direct member of a kernel struct.

    Raises:
        KernelTooOld: the kernel has no BTF, or not this struct or member.
    """
    try:
        data = path.read_bytes()
    except OSError:
        raise KernelTooOld(
            "this kernel has no BTF, which following child processes needs", "measure each process by its own -p PID"
        ) from None
    found = _find(data, struct_name.encode(), member.encode())
    if found is None:
        raise KernelTooOld(f"this kernel's BTF knows no {struct_name}.{member}", "measure each process by its own -p")
    return found


def _find(data: bytes, struct_name: bytes, member: bytes) -> int | None:
    magic, _, _, header, types_at, types_size, strings_at, strings_size = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        return None
    strings = data[header + strings_at : header + strings_at + strings_size]
    wanted = {at + 1 for at in _all(strings, b"\0" + struct_name + b"\0")}
    members = {at + 1 for at in _all(strings, b"\0" + member + b"\0")}
    at, end = header + types_at, header + types_at + types_size
    while at < end:
        name, info, _ = _TYPE.unpack_from(data, at)
        at += _TYPE.size
        kind, entries = info >> 24 & 0x1F, info & 0xFFFF
        if kind == _STRUCT and name in wanted:
            bit_fields = info >> 31  # then the upper 8 bits of an offset are a width
            for each in range(entries):
                member_name, _, offset = _MEMBER.unpack_from(data, at + each * _MEMBER.size)
                if member_name in members:
                    return int(offset & 0xFFFFFF if bit_fields else offset) // 8
        at += _FIXED.get(kind, 0) + _EACH.get(kind, 0) * entries
    return None


def _all(data: bytes, part: bytes) -> list[int]:
    found, at = [], data.find(part)
    while at >= 0:
        found.append(at)
        at = data.find(part, at + 1)
    return found
