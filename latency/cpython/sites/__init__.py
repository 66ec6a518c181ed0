"""Where calls can be seen in one build of CPython: the ``SitePlan``.

``plan_for`` chooses the engine, and the engine's module finds its sites in the file: ``markers`` (USDT),
``evaluation`` (3.6 to 3.10: ``_PyEval_EvalFrameDefault``), ``handlers`` (3.11 and later: the opcode handlers).
Nothing is executed, and nothing here touches a process: a plan is true of a file, wherever it is loaded.
"""

from __future__ import annotations

from latency.cpython.sites.choose import ENGINES, offered, plan_for
from latency.cpython.sites.plan import Role, Site, SitePlan

__all__ = ["ENGINES", "Role", "Site", "SitePlan", "offered", "plan_for"]
