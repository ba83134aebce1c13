"""Which steps of a program are kinks: they depend on weights and the output on them."""

import math
from typing import NamedTuple

import numpy as np

from .program import (
    BINARY,
    COMPARISONS,
    KINKS,
    REFUSED,
    TOURNAMENTS,
    Atom,
    Constant,
    Program,
    Step,
    held_jaxprs,
    holds_kink,
    program_of,
)


GUARDS = frozenset({"eq", "ne", "is_finite"})
"""Comparisons of floats that hold nowhere or everywhere but at single points."""
CURES = {
    "scan": "unroll the loop in Python",
    "while": "unroll the loop in Python",
    "cond": "use `jnp.where`",
}
"""What to do about a kink inside a primitive."""


class Planned(NamedTuple):
    """A step with its group of kinks, `None` if it has none.

    Kinks of one u, such as of `max(u, 0)` and `u > 0`, are one group.

    Attributes:
        step: The step.
        group: The number of its group, in the order of evaluation.
        swapped: Whether its operands change places, for a constant to come second.
    """

    step: Step
    group: int | None
    swapped: bool


class Plan(NamedTuple):
    """The steps that an output needs, and how many groups of kinks they have."""

    steps: tuple[Planned, ...]
    inputs: tuple[int, ...]
    outputs: tuple[Atom, ...]
    groups: int


def make_plan(program: Program, weights: tuple[bool, ...]) -> Plan:
    """Find the kinks of a program, given which of its inputs are weights.

    Raises:
        ValueError: If there is a kink or a jump that cannot be frozen.
    """
    live = _reached(program, through_stops=True)
    moving = _reached(program, through_stops=False)
    uses = _uses(program, moving)
    inputs = zip(program.inputs, weights, strict=True)
    depends = {number for number, is_weight in inputs if is_weight}
    groups: dict = {}
    planned = []
    made = {number: step for step in program.steps for number in step.outputs}
    for step in program.steps:
        if live.isdisjoint(step.outputs) and not step.equation.effects:
            continue
        group, swapped = None, False
        if depends.intersection(a for a in step.inputs if isinstance(a, int)):
            depends.update(step.outputs)
            _refuse(step, moving, depends)
            _refuse_flat(step, made)
            if _has_kink(step, moving, uses):
                swapped = _is_swapped(step, depends)
                group = groups.setdefault(_key(step, swapped), len(groups))
        planned.append(Planned(step, group, swapped))
    return Plan(tuple(planned), program.inputs, program.outputs, len(groups))


def _reached(program: Program, through_stops: bool) -> set[int]:
    """What the outputs depend on; if not through stops, by way of its derivative."""
    found = {atom for atom in program.outputs if isinstance(atom, int)}
    for step in reversed(program.steps):
        stops = step.is_float() and step.name in ("stop_gradient", *GUARDS)
        if found.isdisjoint(step.outputs) or (stops and not through_stops):
            continue
        found.update(atom for atom in step.inputs if isinstance(atom, int))
    return found


def _uses(program: Program, moving: set[int]) -> dict[int, list[Step | None]]:
    """The steps that read each value on a moving way; `None` for the output itself."""
    uses: dict[int, list[Step | None]] = {}
    for step in program.steps:
        if not moving.isdisjoint(step.outputs):
            for atom in {a for a in step.inputs if isinstance(a, int)}:
                uses.setdefault(atom, []).append(step)
    for atom in program.outputs:
        if isinstance(atom, int):
            uses.setdefault(atom, []).append(None)
    return uses


def _refuse(step: Step, moving: set[int], depends: set[int]) -> None:
    """Raise an error at a step on weights that has a kink that is no gate."""
    is_moving = not moving.isdisjoint(step.outputs)
    name = step.name
    if name in REFUSED and step.is_float() and is_moving:
        raise ValueError(
            f"`{name}` of values that depend on the weights jumps or selects, and is "
            "not supported by gflow. Write it with `jnp.maximum`, `jnp.max`, `jnp.abs` "
            "or `jnp.where`."
        )
    if name in COMPARISONS | {"sign"} and step.is_float() and not is_moving:
        raise ValueError(
            f"`{name}` of values that depend on the weights stands inside of a "
            "`stop_gradient`, where its jump cannot be seen. Compare outside of it."
        )
    if is_moving and holds_kink(step.equation) and _bends_inside(step, depends):
        cure = CURES.get(name, "call what is in it directly")
        raise ValueError(
            f"A kink inside `{name}`, of values that depend on the weights, is not "
            f"supported by gflow. To see it, {cure}."
        )


def _refuse_flat(step: Step, made: dict[int, Step]) -> None:
    """Raise an error at a step that makes a kink of where a ReLU is zero."""
    if len(step.inputs) != 2:
        return
    for atom, other in (step.inputs, step.inputs[::-1]):
        source = made.get(atom) if isinstance(atom, int) else None
        if source is None or source.name not in ("max", "min", "clamp"):
            continue
        ends = [a for a in source.inputs if isinstance(a, Constant) and a.literal]
        same = isinstance(other, Constant) and any(
            np.array_equal(end.value, other.value) for end in ends
        )
        if step.name in ("eq", "ne") and same:
            raise ValueError(
                f"`{step.name}` of values that depend on the weights and what they are "
                "clipped to has a kink that gflow does not see, as "
                "`jnp.where(jax.nn.relu(u) == 0, ...)`. Compare before they are "
                "clipped: `jnp.where(u > 0, ...)`."
            )
        power = _power_of(step)
        if 1 <= power < 2 and any(_is_zero(end) for end in ends):
            raise ValueError(
                f"`{power:g}` is a power of a ReLU whose second derivative is NaN in "
                "JAX where it is off. Use `gflow.nn.MLP(..., power=...)`, or write "
                "`jnp.where(u > 0, jnp.where(u > 0, u, 1.0)**p, 0.0)`."
            )


def _power_of(step: Step) -> float:
    """The power that a step takes, if it is a number of the source; else infinite."""
    if step.name == "integer_pow":
        return step.equation.params["y"]
    power = step.inputs[-1]
    if step.name == "pow" and isinstance(power, Constant) and power.literal:
        return float(power.value)
    return math.inf


def _bends_inside(step: Step, depends: set[int]) -> bool:
    """Whether what a step holds has kinks in what depends on the weights there."""
    weights = [isinstance(a, int) and a in depends for a in step.inputs]
    params, held = step.equation.params, held_jaxprs(step.equation)
    if step.name == "scan":
        first = params["num_consts"]
        last = first + params["num_carry"]
        # What one turn hands to the next may depend on any of it.
        weights[first:last] = [True] * params["num_carry"]
        inside = [(params["jaxpr"], weights)]
    elif step.name == "while":
        first = params["cond_nconsts"]
        last = first + params["body_nconsts"]
        carry = [True] * (len(weights) - last)
        inside = [
            (params["cond_jaxpr"], weights[:first] + carry),
            (params["body_jaxpr"], weights[first:last] + carry),
        ]
    elif step.name == "cond" and not weights[0]:
        inside = [(branch, weights[1:]) for branch in params["branches"]]
    else:
        return bool(held)
    return any(
        make_plan(program_of(jaxpr), tuple(which)).groups for jaxpr, which in inside
    )


def _has_kink(step: Step, moving: set[int], uses: dict) -> bool:
    """Whether a step on weights has a kink, as far as its neighbors tell."""
    name = step.name
    if name not in KINKS or not step.is_float(1 if name == "clamp" else 0):
        return False
    if moving.isdisjoint(step.outputs):
        return False  # such as the maximum inside of softmax
    after = uses.get(step.outputs[0], [])
    if name in ("max", "min") and any(
        isinstance(atom, Constant) and atom.literal and np.all(np.isinf(atom.value))
        for atom in step.inputs
    ):
        return False
    if name == "abs" and all(use is not None and use.name == "log" for use in after):
        return False
    with_zero = name == "abs" or (
        name in ("max", "min") and any(_is_zero(atom) for atom in step.inputs)
    )
    return not (with_zero and all(_is_power(use) for use in after))


def _is_zero(atom: Atom) -> bool:
    return isinstance(atom, Constant) and atom.literal and not np.any(atom.value)


def _is_power(step: Step | None) -> bool:
    """Whether a step is a power of at least two, which makes |u| and ReLU smooth."""
    if step is None:
        return False
    if step.name in ("integer_pow", "pow"):
        return 2 <= _power_of(step) < math.inf
    squared = step.name == "mul" and step.inputs[0] == step.inputs[1]
    return step.name == "square" or squared


def _is_swapped(step: Step, depends: set[int]) -> bool:
    """Whether u is the second operand less the first."""
    if step.name in ("max", "min"):
        first, second = (isinstance(a, int) and a in depends for a in step.inputs)
        return second and not first
    return step.name == "lt"


def _key(step: Step, swapped: bool) -> tuple:
    """What is the same for kinks of the same u, and for no others."""
    if step.name in TOURNAMENTS or step.name == "clamp":
        return (step.name, *step.outputs)
    if step.name in ("abs", "sign"):
        return (_identity(step.inputs[0]), ("literal", 0.0))
    pair = [_identity(atom) for atom in step.inputs]
    if swapped != (step.name == "min"):
        pair.reverse()
    return tuple(pair)


def _identity(atom: Atom):
    if isinstance(atom, int):
        return atom
    if atom.literal and np.ndim(atom.value) == 0:
        return ("literal", float(atom.value))
    return ("constant", id(atom.value))


def can_be_smooth(step: Step) -> bool:
    """Whether a kink may be a smooth join of two functions."""
    return step.name in BINARY | COMPARISONS
