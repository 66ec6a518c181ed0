"""``latency/tracing/probes/trace_wire.py`` against ``bpf/trace.h``, as a C compiler sees it."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from latency.cpython.offsets import load
from latency.cpython.sites import Place, SitePlan
from latency.cpython.sites.returns import ReturnPlace
from latency.tracing.counted.parameters import cflags, defined
from latency.tracing.probes import trace_wire

MEMBERS = list(trace_wire.EVENT.names or ())
SOURCE = f"""
#include <stddef.h>
#include "pylat.h"
typedef int s32;
struct pt_regs;
#define BPF_FUNC_probe_read_user 0
#define BPF_FUNC_probe_read_kernel 0
#define BPF_FUNC_probe_read_user_str 0
#include "trace.h"
int offsets[] = {{ {", ".join(f"offsetof(struct pylat_trace_event, {name})" for name in MEMBERS)} }};
int size = sizeof(struct pylat_trace_event);
int stream = offsetof(struct pylat_trace_event, snapshot.stream);
"""
IGNORED = [f"-Wno-{name}" for name in ("type-limits", "unused-parameter", "unused-variable", "unknown-pragmas")]


@pytest.mark.parametrize("version", [(3, 6), (3, 10), (3, 11), (3, 12), (3, 15), sys.version_info[:2]])
def test_the_event_has_the_layout_of_the_header(
    compile_bpf: Callable[..., ctypes.CDLL], version: tuple[int, int]
) -> None:
    offsets = load(version)
    plan = SitePlan(engine="eval", sites=(), places={}, start_by="oparg" if version >= (3, 11) else "lasti")
    names = ("RETURN_CONST", "INSTRUMENTED_RETURN_CONST", "RETURN_VALUE", "INSTRUMENTED_RETURN_VALUE", "EXTENDED_ARG")
    numbers = dict.fromkeys(names, 1) if version == (3, 12) else {}
    place = ReturnPlace(None, opcodes=numbers) if version >= (3, 11) else ReturnPlace(Place("r15"))
    flags = [
        *cflags(offsets, plan, every_function=False),
        *defined(trace_wire.trace_flags(offsets, arguments=True, returns=place)),
    ]
    library = compile_bpf(SOURCE, *IGNORED, *flags)
    fields = trace_wire.EVENT.fields or {}
    assert list((ctypes.c_int * len(MEMBERS)).in_dll(library, "offsets")) == [fields[name][1] for name in MEMBERS]
    assert ctypes.c_int.in_dll(library, "size").value == trace_wire.EVENT.itemsize
    assert ctypes.c_int.in_dll(library, "stream").value == trace_wire.STREAM_AT


def test_constants_of_the_header_have_their_values_in_wire(bpf_folder: Path) -> None:
    text = (bpf_folder / "trace.h").read_text()
    found = dict(
        re.findall(
            r"^#define PYLAT_(?:TRACE_)?((?:STARTED|RESUMED|RETURNED|RAISED|YIELDED|ABANDONED|VALUE_\w+)) (\d+)",
            text,
            re.MULTILINE,
        )
    )
    assert len(found) == 11
    assert {name: getattr(trace_wire, name) for name in found} == {name: int(value) for name, value in found.items()}
