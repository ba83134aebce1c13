"""When a solve should give up, so that its work is bounded.

Asked between chunks, whose lengths follow the clock on the wall: two runs may give up
some steps apart, though the steps they share are the same.
"""

import math

import numpy as np

from . import _loop
from ._results import RESULTS
from ._run import Mark, Run
from ._trajectory import Steps


LITTLE = 1e-4
"""Less than this, in direction and log-radius together, is no progress for one step, at
an `rtol` of 1e-8 or more; below, honest steps shrink by its fifth root."""

SLOW = 1e-3
"""A flow at this share of its greatest speed has all but stopped."""

VANISHED = -1e4
"""$L \rho$ below which a flow that still shrinks never comes back."""


def reason_to_stop(run: Run, left: int, interrupted: bool) -> RESULTS | None:
    """Why not to go on, if there is a reason other than having met a level.

    Args:
        run: The run so far.
        left: How many more steps it may try.
        interrupted: Whether Ctrl-C was pressed.
    """
    status = int(run.carry.status)
    if status not in (_loop.RUNNING, _loop.UNDERFLOW):
        return None
    last = run.recent[-1] if run.recent else Mark(0, 0.0, math.inf, 0.0)
    stopped = last.speed <= SLOW * run.top_speed and np.any(
        np.asarray(run.carry.margins) <= 0
    )
    if status == _loop.UNDERFLOW:
        return RESULTS.plateau if stopped else RESULTS.step_underflow
    if interrupted:
        return RESULTS.interrupted
    log_radius = float(run.last_point()[-1])
    if run.degree * log_radius < VANISHED and last.growth < 0:
        return RESULTS.vanishing
    attempts = sum(mark.attempts for mark in run.recent)
    moved = sum(mark.moved for mark in run.recent)
    little = LITTLE * min(1.0, (run.rtol / 1e-8) ** 0.2)
    if attempts >= run.patience and moved < little * run.patience:
        return RESULTS.plateau if stopped else RESULTS.stalled
    return RESULTS.out_of_steps if left <= 0 else None


def mark(run: Run, steps: Steps, attempts: int) -> None:
    """Note how far a chunk of steps has come."""
    before = run.last_point()
    changes = np.diff(np.concatenate([before[None], steps.ends()]), axis=0)
    moved = np.linalg.norm(changes, axis=1)
    speeds = (moved / steps.scalars.length).tolist()
    if speeds:
        speed, growth = speeds[-1], float(changes[-1, -1])
    else:
        speed, growth = (run.recent[-1].speed if run.recent else math.inf), 0.0
    run.top_speed = max([run.top_speed, *speeds])
    run.recent.append(Mark(attempts, float(np.sum(moved)), speed, growth))
    while sum(mark.attempts for mark in run.recent[1:]) >= run.patience:
        del run.recent[0]
