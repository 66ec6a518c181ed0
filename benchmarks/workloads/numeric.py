"""A numeric loop: a few steps of a pendulum, in plain Python. ``simulate`` is what to measure."""

from __future__ import annotations

import math

from options import parse, sizes

_TYPICAL_STEPS = 1500
_STEP_S = 0.001


def simulate(steps: int) -> float:
    """The angle of a pendulum after so many steps."""
    angle, speed = 1.0, 0.0
    for _ in range(steps):
        speed -= 9.81 * math.sin(angle) * _STEP_S
        angle += speed * _STEP_S
    return angle


if __name__ == "__main__":
    for steps in sizes(parse(__doc__, 1000), _TYPICAL_STEPS):
        simulate(steps)
