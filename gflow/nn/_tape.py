"""The gates of kinks: read while a network runs, or set.

A kink is the larger of some branches; at a kink of the network any convex combination
of the branches' derivatives is in Clarke's subdifferential. Its weights are the gates.
"""

import contextvars
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._types import Scalar
from ._jaxprs import calls, function_name, inner_jaxprs


Branches = Float[Array, "*shape branches"]
PRIMITIVE = "smooth_maximum"
"""The function that every kink is made of, by its name in a jaxpr."""
HIDDEN = (
    "`network` must call its kinks outside of `vmap`, `grad`, `cond` and `checkpoint`, "
    "for their gates to be seen, but calls one inside. Kinks take arrays of any shape: "
    "write the network without the transformation."
)


class Kink(NamedTuple):
    """One call of a kink.

    Attributes:
        branches: What it takes the maximum of, along the last axis.
        scale: The unit of its width, that grows with the weights as the branches do.
        eps: Its width over `scale`; 0 if it is exact.
    """

    branches: Branches
    scale: Scalar
    eps: Scalar


class Tape:
    """Every kink called so far, and the gates to put in their place."""

    def __init__(self, gates: Sequence[Branches] | None):
        self.gates = gates
        self.kinks: list[Kink] = []
        self.trace = _trace()

    def play(
        self, branches: Branches, scale: ArrayLike, eps: ArrayLike
    ) -> Float[Array, "*shape"] | None:
        """Record a kink; its output under the given gates, if there are any."""
        if _trace() != self.trace:
            raise ValueError(HIDDEN)
        unit, width = (jnp.asarray(part, branches.dtype) for part in (scale, eps))
        self.kinks.append(Kink(branches, unit, width))
        if self.gates is None:
            return None
        call = len(self.kinks) - 1
        if call >= len(self.gates):
            raise ValueError(
                f"`gates` must hold one array for each kink, but holds {call} and "
                "the network has more. Take the number from a run without gates."
            )
        if jnp.shape(self.gates[call]) != branches.shape:
            raise ValueError(
                f"`gates[{call}]` must have the shape of its branches, "
                f"{branches.shape}, but has {jnp.shape(self.gates[call])}."
            )
        still = jax.lax.stop_gradient(branches)
        change = jnp.sum(self.gates[call] * (branches - still), axis=-1)
        return jnp.max(still, axis=-1) + change


TAPE: contextvars.ContextVar[Tape | None] = contextvars.ContextVar("tape", default=None)


def with_gates(
    network: Callable,
    x: Float[Array, "*features"],
    gates: Sequence[Branches] | None = None,
) -> tuple[PyTree, list[Kink]]:
    r"""The output of a network, with its kinks and under given gates.

    With gates $\lambda$, each kink is exact, $\max_i b_i$, and its derivative is
    $\sum_i \lambda_i b_i'$ instead of that of the larger branch. So no gates change the
    output; all derivatives of the output are polynomials of the gates, of degree one
    in those of each kink. If gates are one at the largest branch and zero elsewhere
    the derivative is that of the exact network (width zero).

    Functions jitted inside the network run as if they were not, and scans as Python
    loops. May itself be called under `jit`, `vmap` and `grad`.

    Args:
        network: Any callable; its kinks are those of `gflow.nn`.
        x: One input.
        gates: One array a kink, in the order of the calls, shaped as its branches;
            `None` for the network as it is.

    Returns:
        The output, and the kinks in the order of the calls.

    Raises:
        ValueError: If `gates` do not fit, or the kinks stand under a transformation
            inside the network.
    """
    with jax.disable_jit():
        # A transformation may remember a function traced before, and not run it.
        for equation in jax.make_jaxpr(network)(x).eqns:
            if function_name(equation) != PRIMITIVE and any(
                calls(inner, PRIMITIVE) for inner in inner_jaxprs(equation)
            ):
                raise ValueError(HIDDEN)
        tape = Tape(gates)
        token = TAPE.set(tape)
        try:
            output = network(x)
        finally:
            TAPE.reset(token)
    if gates is not None and len(tape.kinks) != len(gates):
        raise ValueError(
            f"`gates` must hold one array for each of the {len(tape.kinks)} kinks, "
            f"but holds {len(gates)}."
        )
    return output, tape.kinks


def _trace() -> object:
    """What JAX is tracing for; equal where nothing has begun or ended in between."""
    return get_opaque_trace_state(convention="gflow")
