"""The way through zero of weights in which a network is linear.

There polar coordinates end, and the flow does not: its direction turns round at once.
Other flows of degree one miss zero, if barely, and turn by themselves.
"""

import jax.numpy as jnp
import numpy as np

from .._compile import compiled
from . import _loop
from ._carry import controller, tolerance
from ._run import Run


KEPT = ("log_radius", "log_whole", "tau", "log_t", "accepted", "rejected", "failed")
"""What of the carry goes on as it is: no time passes."""


def pass_zero(run: Run) -> bool:
    """Go on beyond zero; whether that is known, since the network is odd."""
    field, before = run.field, run.carry
    through = -before.point
    margins = np.asarray(field.margins(through))
    if not np.allclose(margins, -np.asarray(before.margins), rtol=1e-12, atol=0):
        return False
    run.carry, _ = compiled(_loop.begin)(
        field, run.solver, controller(run.rtol), tolerance(run.rtol, run.atol),
        jnp.asarray(through), before.log_radius,
    )  # fmt: skip
    kept = {name: getattr(before, name) for name in KEPT}
    kept["gradients"] = before.gradients + run.carry.gradients
    run.go_on(**kept)
    return True
