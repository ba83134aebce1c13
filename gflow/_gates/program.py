"""A JAX function as a list of equations, without the calls in between.

What a jaxpr calls is written out; so is what has a custom derivative or a checkpoint,
if it holds a kink. If it holds none it is one step, with its rule of derivatives.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend.core import (
    ClosedJaxpr,
    DebugInfo,
    Jaxpr,
    JaxprEqn,
    Literal,
    jaxpr_as_fun,
)
from jaxtyping import Array


BINARY = frozenset({"max", "min", "abs", "clamp", "sign"})
COMPARISONS = frozenset({"gt", "ge", "lt", "le"})
TOURNAMENTS = {
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_window_max": "max",
    "reduce_window_min": "min",
}
"""The primitives that pick an entry out of many, and what they do with two."""
REFUSED = frozenset(
    (
        *("argmax", "argmin", "sort", "top_k", "approx_top_k", "cummax", "cummin"),
        *("floor", "ceil", "round", "rem", "nextafter", "reduce", "reduce_window"),
        *("scatter-max", "scatter-min", "pmax", "pmin"),
        *("select_and_scatter_add", "select_and_gather_add", "bitcast_convert_type"),
    )
)
KINKS = BINARY | COMPARISONS | REFUSED | TOURNAMENTS.keys()
"""The primitives that may have a kink or a jump."""
SMOOTH = frozenset({"logaddexp", "logaddexp2", "fractional_power"})
"""Functions that hold such primitives and are smooth."""
CALLS = frozenset({"jit", "pjit", "closed_call", "core_call"})
"""The primitives that call what they hold once, with their own operands."""
RULES = frozenset(
    {"custom_jvp_call", "custom_vjp_call", "remat2", "remat", "checkpoint"}
)
"""Likewise, with a rule of how to differentiate it."""


def dtype_of(variable: Any) -> np.dtype:
    """The type of the numbers that a variable or literal of a jaxpr holds."""
    return variable.aval.dtype


class Constant(NamedTuple):
    """A value that no input changes; `literal` where it is a number of the source."""

    value: Any
    literal: bool = False


Atom = int | Constant


class Step(NamedTuple):
    """One equation: the atoms that it reads and the numbers of those that it writes."""

    equation: JaxprEqn
    inputs: tuple[Atom, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return self.equation.primitive.name

    def is_float(self, operand: int = 0) -> bool:
        """Whether an operand is of floats."""
        variables = self.equation.invars
        return len(variables) > operand and jnp.issubdtype(
            dtype_of(variables[operand]), jnp.inexact
        )


class Program(NamedTuple):
    """The steps of a function in the order of evaluation."""

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[Atom, ...]


def program_of(closed: ClosedJaxpr) -> Program:
    """The steps of a jaxpr."""
    numbers, steps = count(), []
    inputs = tuple(next(numbers) for _ in closed.jaxpr.invars)
    outputs = _write_out(closed.jaxpr, closed.consts, inputs, numbers, steps)
    return Program(tuple(steps), inputs, tuple(outputs))


def _write_out(
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    inputs: Sequence[Atom],
    numbers: Iterator[int],
    steps: list[Step],
) -> list[Atom]:
    """Append the steps of a jaxpr to a list, and return its outputs."""
    env: dict = dict(zip(jaxpr.constvars, map(Constant, consts), strict=True))
    env.update(zip(jaxpr.invars, inputs, strict=True))

    def read(variable) -> Atom:
        if not isinstance(variable, Literal):
            return env[variable]
        return Constant(np.asarray(variable.val, dtype_of(variable)), literal=True)

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        held = held_jaxprs(equation)
        name = equation.primitive.name
        if name in CALLS or (name in RULES and holds_kink(equation)):
            outputs = _write_out(
                held[0].jaxpr, held[0].consts, operands, numbers, steps
            )
        elif (
            name == "convert_element_type"
            and isinstance(operands[0], Constant)
            and operands[0].literal
        ):
            number = operands[0].value.astype(equation.params["new_dtype"])
            outputs = [Constant(number, literal=True)]
        else:
            outputs = [next(numbers) for _ in equation.outvars]
            steps.append(Step(equation, tuple(operands), tuple(outputs)))
        env.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def held_jaxprs(equation: JaxprEqn) -> list[ClosedJaxpr]:
    """The jaxprs that an equation holds: of a function, a loop, a branch."""
    found = []
    for parameter in equation.params.values():
        several = isinstance(parameter, tuple | list)
        for part in parameter if several else (parameter,):
            if isinstance(part, ClosedJaxpr):
                found.append(part)
            elif isinstance(part, Jaxpr):
                found.append(ClosedJaxpr(part, ()))
    return found


def holds_kink(equation: JaxprEqn) -> bool:
    """Whether an equation holds, at any depth, a primitive of floats with a kink."""
    held = held_jaxprs(equation)
    if equation.primitive.name.startswith("custom_") and any(
        part.jaxpr.debug_info.func_name.split(" ")[0] in SMOOTH for part in held
    ):
        return False
    inner = [inside for part in held for inside in part.jaxpr.eqns]
    return any(
        (each.primitive.name in KINKS and Step(each, (), ()).is_float())
        or holds_kink(each)
        for each in inner
    )


def run_plainly(equation: JaxprEqn, operands: Sequence[Array]) -> list[Array]:
    """The outputs of one equation as JAX evaluates and differentiates it."""
    pairs = list(zip(equation.invars, operands, strict=True))
    given = {id(v): (v, x) for v, x in pairs if not isinstance(v, Literal)}
    variables = [variable for variable, _ in given.values()]
    jaxpr = Jaxpr(
        (),
        variables,
        equation.outvars,
        [equation],
        equation.effects,
        DebugInfo("gates", equation.primitive.name, None, None),
    )
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))(*(x for _, x in given.values()))
