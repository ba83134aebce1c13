"""A program evaluated at gates that it reads off or that are given to it."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from . import tournament
from .plan import Plan, Planned
from .program import TOURNAMENTS, Constant, run_plainly
from .soft import blend, is_soft, run_softly


Gates = Bool[Array, " kinks"] | Float[Array, " kinks"]


class Tape:
    """The gates of one evaluation, and u at each.

    Attributes:
        gates: The gates so far, in pieces.
        kinks: Likewise u, positive where the gate ought to be on.
        groups: The group of each piece.
    """

    def __init__(self, given: Gates | None):
        self.given = given
        self.gates: list[Array] = []
        self.kinks: list[Array] = []
        self.groups: list[int] = []
        self.used = 0
        self.shared: dict[int, Array] = {}

    def gate(self, u: Array, group: int) -> Array:
        """The gates of new kinks, of the shape of u."""
        if self.given is None:
            gate = u > 0
        else:
            gate = self.given[self.used : self.used + u.size].reshape(u.shape)
        self.used += u.size
        self.gates.append(jnp.ravel(gate))
        self.kinks.append(jnp.ravel(u))
        self.groups.append(group)
        return gate

    def gate_once(self, u: Array, group: int) -> Array:
        """The gates of kinks that several steps may have."""
        if group not in self.shared:
            self.shared[group] = self.gate(u, group)
        return self.shared[group]

    def sizes(self, groups: int) -> list[int]:
        """How many kinks each group has."""
        sizes = [0] * groups
        for group, u in zip(self.groups, self.kinks, strict=True):
            sizes[group] += u.size
        return sizes


def evaluate(
    plan: Plan,
    gated: Sequence[bool],
    given: Gates | None,
    values: Sequence[Array],
) -> tuple[Array, Tape]:
    """The output of a program, and the tape of its gates.

    Args:
        plan: The steps.
        gated: Which groups of kinks have gates; the others are evaluated as they are.
        given: The gates; `None` to read them off the signs of u.
        values: The inputs.

    Raises:
        ValueError: If a step is not supported.
    """
    tape = Tape(given)
    env: dict = dict(zip(plan.inputs, values, strict=True))
    for planned in plan.steps:
        step = planned.step
        operands = [
            jnp.asarray(a.value) if isinstance(a, Constant) else env[a]
            for a in step.inputs
        ]
        if planned.group is not None and gated[planned.group]:
            outputs = [_choose(planned, operands, tape)]
        elif is_soft(step, operands):
            outputs = run_softly(step, operands)
        else:
            outputs = run_plainly(step.equation, operands)
        env.update(zip(step.outputs, outputs, strict=True))
    (out,) = plan.outputs
    return (jnp.asarray(out.value) if isinstance(out, Constant) else env[out]), tape


def _choose(planned: Planned, operands: list[Array], tape: Tape) -> Array:
    """The output of a step with kinks."""
    step, group = planned.step, planned.group
    assert group is not None
    name = step.name
    if name in TOURNAMENTS:
        return _largest(*tournament.entries(step, operands[0]), step.name, group, tape)
    if name == "clamp":
        low, x, high = operands
        above = blend(tape.gate(x - low, group), x, low)
        return blend(tape.gate(high - above, group), above, high)
    if name in ("abs", "sign"):
        (x,) = operands
        gate = tape.gate_once(x, group)
        one = jnp.ones_like(x)
        return blend(gate, x, -x) if name == "abs" else blend(gate, one, -one)
    a, b = reversed(operands) if planned.swapped else operands
    if name in ("max", "min"):
        u = a - b if name == "max" else b - a
        return blend(tape.gate_once(u, group), a, b)
    gate = tape.gate_once(a - b, group)
    if name == "le":  # a <= b unless a > b, also where they are equal
        return ~gate if gate.dtype == bool else 1 - gate
    return gate


def _largest(
    x: Array, valid: np.ndarray | None, name: str, group: int, tape: Tape
) -> Array:
    """The largest entry, or the smallest, along the first axis."""
    sign = 1 if TOURNAMENTS[name] == "max" else -1
    while x.shape[0] > 1:
        half = x.shape[0] // 2
        a, b, rest = x[:half], x[half : 2 * half], x[2 * half :]
        if valid is None:
            winner = blend(tape.gate(sign * (a - b), group), a, b)
        else:
            first, second = valid[:half], valid[half : 2 * half]
            winner = _winner(a, b, first, second, sign, group, tape)
            valid = np.concatenate([first | second, valid[2 * half :]])
        x = jnp.concatenate([winner, rest])
    return x[0]


def _winner(
    a: Array,
    b: Array,
    first: np.ndarray,
    second: np.ndarray,
    sign: int,
    group: int,
    tape: Tape,
) -> Array:
    """The larger of two entries, where both are there."""
    (both,) = np.nonzero(np.ravel(first & second))
    gate = tape.gate(sign * jnp.ravel(a - b)[both], group)
    whole = jnp.zeros(math.prod(a.shape), gate.dtype).at[both].set(gate)
    chosen = blend(whole.reshape(a.shape), a, b)
    return jnp.where(first & second, chosen, jnp.where(first, a, b))
