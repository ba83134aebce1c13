"""The gates of kinks: read while a network runs, or set.

A kink is the larger of some branches; at a kink of the network any convex combination
of the branches' derivatives is in Clarke's subdifferential. Its weights are the gates.
"""

import contextvars
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state
from jaxtyping import Array, Float, PyTree

from ._jaxprs import calls, function_name, inner_jaxprs


Branches = Float[Array, "*shape branches"]
PRIMITIVE = "smooth_maximum"
"""The function that every kink is made of, by its name in a jaxpr."""
HIDDEN = (
    "`network` must call its kinks outside of `vmap`, `grad`, `cond` and `checkpoint`, "
    "for their gates to be seen, but calls one inside. Kinks take arrays of any shape: "
    "write the network without the transformation."
)


class Tape:
    """The branches of every kink called so far, and the gates to put in their place."""

    def __init__(self, gates: Sequence[Branches] | None):
        self.gates = gates
        self.branches: list[Branches] = []
        self.trace = _trace()

    def play(self, branches: Branches) -> Float[Array, "*shape"] | None:
        """Record a kink; its output under the given gates, if there are any."""
        if _trace() != self.trace:
            raise ValueError(HIDDEN)
        self.branches.append(branches)
        if self.gates is None:
            return None
        call = len(self.branches) - 1
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
        gate = jax.lax.stop_gradient(jnp.asarray(self.gates[call]))
        return jnp.sum(gate * branches, axis=-1)


TAPE: contextvars.ContextVar[Tape | None] = contextvars.ContextVar("tape", default=None)


def with_gates(
    network: Callable,
    x: Float[Array, "*features"],
    gates: Sequence[Branches] | None = None,
) -> tuple[PyTree, list[Branches]]:
    r"""The output of a network, with the branches of its kinks and under given gates.

    With gates $\lambda$, constants, the kink of branches $b$ is $\sum_i \lambda_i b_i$
    instead of their smoothed maximum. If each is one at the largest branch and zero
    elsewhere, the output is that of the exact network (width zero).

    Functions jitted inside the network run as if they were not, and scans as Python
    loops. May itself be called under `jit`, `vmap` and `grad`.

    Args:
        network: Any callable; its kinks are those of `gflow.nn`.
        x: One input.
        gates: One array a kink, in the order of the calls, shaped as its branches;
            `None` for the network as it is.

    Returns:
        The output, and the branches of each kink in the order of the calls; branches
        run along the last axis.

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
    if gates is not None and len(tape.branches) != len(gates):
        raise ValueError(
            f"`gates` must hold one array for each of the {len(tape.branches)} kinks, "
            f"but holds {len(gates)}."
        )
    return output, tape.branches


def _trace() -> object:
    """What JAX is tracing for; equal where nothing has begun or ended in between."""
    return get_opaque_trace_state(convention="gflow")
