"""To be imported before numpy: OpenBLAS, which comes along, starts no threads then.

It starts one for each processor, and each spins for some 40 ms before it sleeps. Nothing here multiplies matrices.
"""

from __future__ import annotations

import os

_THREADS = "OPENBLAS_NUM_THREADS"

if _THREADS not in os.environ:
    os.environ[_THREADS] = "1"
    try:
        import numpy  # noqa: F401
    finally:
        del os.environ[_THREADS]  # it is not for a program that pylat runs
