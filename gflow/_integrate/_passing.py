"""The way through zero of weights in which a network is linear.

There polar coordinates end, and the flow does not: its direction turns round at once.
Other flows of degree one miss zero, if barely, and turn by themselves.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from .._compile import compiled
from .._steps import Sample, Steps
from . import _loop
from ._attempt import UNDERFLOW
from ._carry import controller, tolerance
from ._run import Run
from ._saving import keep


INSTANT = 1e-300
"""The length of a step that lasts no time."""


KEPT = ("log_radius", "log_whole", "tau", "log_t", "rejected", "failed")
"""What of the carry goes on as it is: no time passes."""


def pass_zero(run: Run, steps: Steps) -> None:
    """Go on beyond zero, if the network is odd; else nobody knows how.

    Args:
        run: The run, which has come there.
        steps: Its last steps.
    """
    field, before = run.field, run.carry
    through = -before.point
    margins = np.asarray(field.margins(through))
    if not np.allclose(margins, -np.asarray(before.margins), rtol=1e-12, atol=0):
        run.go_on(status=np.int64(UNDERFLOW))
        return
    run.carry, start = compiled(_loop.begin)(
        field, run.solver, controller(run.rtol), tolerance(run.rtol, run.atol),
        jnp.asarray(through), before.log_radius,
    )  # fmt: skip
    keep(run, _turned(steps, start))
    kept = {name: getattr(before, name) for name in KEPT}
    kept["accepted"] = before.accepted + 1
    kept["gradients"] = before.gradients + run.carry.gradients
    run.go_on(**kept)


def _turned(steps: Steps, start: Sample) -> Steps:
    """A step that turns round and lasts no time, after the last of some steps."""
    last = jax.tree.map(lambda a: a[-1:], steps)
    scalars = last.scalars

    def constant(values):
        return np.repeat(values[:, -1:], values.shape[1], axis=1)

    names = "log_radius", "rate", "loss", "tau_rate"
    parts = {name: constant(getattr(scalars, name)) for name in names}
    scalars = dataclasses.replace(scalars, length=np.full(1, INSTANT), **parts)
    whole = np.ones((1, last.nodes.shape[1], 1))
    return dataclasses.replace(
        last,
        nodes=whole * np.asarray(start.point)[:-1],
        rates=np.zeros_like(last.rates),
        growth=np.zeros_like(last.growth),
        scalars=scalars,
        weights=whole * np.asarray(start.weights),
    )
