"""What an early end says beside what all ends of its kind do."""

import numpy as np

from .._slides import with_gates
from ._carry import tolerance
from ._rest import modes
from ._run import Run


BALANCED, FITTED = 1e-5, 1e-3
"""A gradient of this share of the pulls of samples is what a balance leaves; errors
below this times `rtol` of the targets are those of a flow at rest."""


def fitted(run: Run) -> str:
    """What a flow of regression that rests leaves of a loss that is asked for."""
    flow, errors = run.field.flow, np.abs(np.asarray(run.carry.margins))
    if flow.kind != "targets" or run.levels.log_loss is None:
        return ""
    if np.max(errors) > FITTED * run.rtol * np.max(np.abs(np.asarray(flow.y))):
        return ""
    return (
        " All targets are fitted, to an error that is followed no further: ask for a "
        "larger `log_loss`, or lower `rtol`."
    )


def balance(run: Run) -> str:
    """What makes steps short where samples contradict each other; else nothing."""
    field = with_gates(run.field, run.carry.gates)
    if not field.euclidean:
        return ""
    try:
        found = modes(field, run.carry, tolerance(run.rtol, run.atol))
    except np.linalg.LinAlgError:  # what was computed is worth more than a word on it
        return ""
    if found is None or not found.calmest < BALANCED:
        return ""
    return (
        f" There the gradient of some units is {found.calmest:.1e} of the pulls of the "
        "samples at them: these contradict each other, and what moves the weights "
        "still has few digits beside them."
    )
