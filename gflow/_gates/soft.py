"""Booleans between false and true: numbers in [0, 1], and what is done with them.

A comparison whose gate is a number s is s itself; a choice by it is a mixture of both
cases. Everything here is linear in each of its soft booleans.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from .program import Step, dtype_of, run_plainly


MOVES = frozenset(
    (
        *("broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "rev"),
        *("expand_dims", "copy", "copy_p", "concatenate"),
    )
)
"""Primitives that move the entries of arrays and do not look at them."""
LOGIC = {
    "not": lambda a: 1 - a,
    "and": lambda a, b: a * b,
    "or": lambda a, b: a + b - a * b,
    "xor": lambda a, b: a + b - 2 * a * b,
    "ne": lambda a, b: a + b - 2 * a * b,
    "eq": lambda a, b: 1 - a - b + 2 * a * b,
}


def is_bool(dtype: Any) -> bool:
    """Whether a type is that of booleans."""
    return jnp.issubdtype(dtype, jnp.bool_)


def is_soft(step: Step, values: list[Array]) -> bool:
    """Whether an operand of a step is of booleans and has come as numbers."""
    return any(
        is_bool(dtype_of(variable)) and not is_bool(value.dtype)
        for variable, value in zip(step.equation.invars, values, strict=True)
    )


def run_softly(step: Step, values: list[Array]) -> list[Array]:
    """The outputs of a step some of whose operands are soft booleans.

    Raises:
        ValueError: If the step needs to know whether they are true or false.
    """
    name, dtype = step.name, dtype_of(step.equation.outvars[0])
    if name == "select_n" and (is_bool(dtype) or jnp.issubdtype(dtype, jnp.inexact)):
        which, *cases = values
        if is_soft(step, [which, *(jnp.zeros((), bool) for _ in cases)]):
            off, on = (1.0 * case if is_bool(dtype) else case for case in cases)
            return [blend(which, on, off)]
        off, on = (1.0 * case for case in cases)
        return [jnp.where(which, on, off)]
    if name == "stop_gradient":
        return values
    if name == "convert_element_type" and is_bool(dtype):
        return values
    if name == "convert_element_type" and jnp.issubdtype(dtype, jnp.inexact):
        return [values[0].astype(dtype)]
    if name in LOGIC:
        return [LOGIC[name](*(1.0 * value for value in values))]
    if name in MOVES:
        return run_plainly(step.equation, [1.0 * value for value in values])
    raise ValueError(
        f"A comparison of values that depend on the weights goes into `{name}`"
        f"{f' to {dtype}' if name == 'convert_element_type' else ''}, which gflow does "
        "not support. Let it choose directly, as in `jnp.where(u > 0, a, b)`, or count "
        "it in floats: `(u > 0).astype(float)`."
    )


def blend(gate: Array, on: Array, off: Array) -> Array:
    """What a gate chooses, or a mixture if it is a number."""
    if is_bool(gate.dtype):
        return jnp.where(gate, on, off)
    return gate * on + (1 - gate) * off
