"""Genuine builds that pylat refuses today, with its words. Whoever teaches it one of them takes its line away."""

from __future__ import annotations

REFUSED = {
    "3.11.11-manylinux2014": "asks frame->is_entry at 1 places on return and 2 on exceptions",
    "3.11.17-manylinux2014": "asks frame->is_entry at 1 places on return and 2 on exceptions",
    "3.11.17-musllinux_1_2": "has opcode handlers outside the unwinder's table",
    "3.12.9-manylinux2014": "has no _PyEval_FrameClearAndPop that looks at frame->owner at 0x4bd3c0",
    "3.12.9-musllinux_1_2": "has no _PyEval_FrameClearAndPop that looks at frame->owner at 0x19d7f0",
    "3.12.15-manylinux2014": "has no _PyEval_FrameClearAndPop that looks at frame->owner at 0x558790",
    "3.12.15-musllinux_1_2": "has its frames in no register when a handler starts: mov rsi, qword ptr [rsp + 0x10]",
    "3.13.17-manylinux2014": "has its frames in no register when a handler starts: mov rsi, qword ptr [rsp]",
}
"""Interpreter's id to the end of the refusal. Of builds that are pinned alone: their code does not change."""
