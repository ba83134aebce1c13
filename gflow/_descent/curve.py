"""The curve that a descent returns."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int, PyTree


class Descent(eqx.Module):
    r"""A descent, sampled at counts of gradients.

    Its fields are named as those of `Trajectory`, so that the same functions read
    either; the leading axis of every array is time.

    Attributes:
        gradients: How many gradients had been spent, rejected steps counted; 0 at the
            start.
        log_t: Logarithm of physical time, the sum of the steps; `-inf` at the start.
        log_radius: $\log |w|$.
        direction: The network with weights $w / |w|$, of norm one.
        log_loss: Logarithm of the mean loss. If it is not finite at the last sample,
            the descent diverged there.
        stats: `steps` (those that were kept), `rejected`, `gradients`,
            `compile_seconds` and `run_seconds`.
    """

    gradients: Int[Array, " times"]
    log_t: Float[Array, " times"]
    log_radius: Float[Array, " times"]
    direction: PyTree
    log_loss: Float[Array, " times"]
    stats: dict[str, Any]

    def map(self, fn: Callable[..., PyTree], *arrays: Array) -> PyTree:
        """Apply `fn` to the unit-norm network at each sample.

        Args:
            fn: Takes a network, and one entry of each of `arrays`.
            arrays: More arguments with a leading time axis, such as `log_radius`.

        Returns:
            What `fn` returns, each array with a leading time axis.

        Example:
            `descent.map(lambda net: gflow.normalized_margin(flow, net))`
        """
        return eqx.filter_vmap(fn)(self.direction, *arrays)
