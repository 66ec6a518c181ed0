"""Where calls can be seen in one build of CPython: the ``SitePlan``.

``choose.plan_for`` chooses the engine, and the engine's module finds its sites in the file: ``markers`` (USDT),
``evaluation`` (3.6 to 3.10: ``_PyEval_EvalFrameDefault``), ``handlers`` (3.11 and later: the opcode handlers).
Nothing is executed, and nothing here touches a process: a plan is true of a file, wherever it is loaded. So it can be
kept (``kept``), and then the finders and the disassembler are not even imported: the package has the vocabulary alone.
"""

from __future__ import annotations

from latency.cpython.sites.plan import ENGINES, REGISTERS, Place, Role, Site, SitePlan

__all__ = ["ENGINES", "REGISTERS", "Place", "Role", "Site", "SitePlan"]
