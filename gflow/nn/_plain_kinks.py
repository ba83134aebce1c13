"""Kinks that a network did not take from `gflow.nn`, and that stay sharp."""

import warnings
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn, Literal
from jaxtyping import Array, Float, PyTree

from .. import _tree
from ._jaxprs import calls, function_name, inner_jaxprs
from ._tape import PRIMITIVE


KINKS = {
    "max": "max",
    "min": "min",
    "abs": "abs",
    "clamp": "clip",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_window_max": "max pooling",
    "reduce_window_min": "min pooling",
    "select_and_gather_add": "max pooling",
    "cummax": "max",
    "cummin": "min",
    "sort": "sort",
    "top_k": "sort",
}
"""What each primitive with a kink is called."""
COMPARISONS = {"gt", "ge", "lt", "le"}
CONSTANT = {"stop_gradient", "sign", "floor", "ceil", "round", "eq", "ne", "is_finite"}
"""Primitives that no derivative goes through."""
SMOOTH = {PRIMITIVE, "fractional_power", "logaddexp", "elu", "celu"}
"""Functions that hold such primitives and are smooth, or are ours."""

LOOPS = {"scan", "while"}

# What is known of one value: `None` if it does not depend on the weights, otherwise
# the names of the kinks on the way to it, in order, as keys.
Known = dict[str, None] | None
GATE = "where"


class KinkWarning(UserWarning):
    """A network has sharp kinks that did not come from `gflow.nn`."""


def warn_of_plain_kinks(network: PyTree, x: Float[Array, "*features"]) -> None:
    """Tell the user of sharp kinks, if there are any."""
    # A `where` is as often a smooth join.
    found = [name for name in plain_kinks(network, x) if name != GATE]
    if found:
        warnings.warn(
            f"`network` has sharp kinks ({', '.join(found)}): the flow jumps or slides "
            "there, steps become tiny, and derivatives are one-sided. Write them with "
            "`gflow.nn.relu`, `maximum`, `absolute`, `max_pool` and the like, which "
            "have a width `eps`. If what comes after makes them smooth, filter out "
            "`gflow.KinkWarning`.",
            KinkWarning,
            stacklevel=3,
        )


def has_kinks(network: PyTree, x: Float[Array, "*features"]) -> bool:
    """Whether a network has kinks, smoothed ones of `gflow.nn` or others."""
    plain = [name for name in plain_kinks(network, x) if name != GATE]
    return bool(plain) or calls(_jaxpr(network, x), PRIMITIVE)


def plain_kinks(network: PyTree, x: Float[Array, "*features"]) -> list[str]:
    """The names of sharp kinks between the weights of a network and its output.

    Read off its jaxpr: maxima, absolute values, sorting, and `where` with a condition
    and a case that depend on the weights. The kinks of `gflow.nn` do not count, nor
    the maxima inside of softplus and `logsumexp`. A `where` that joins two functions
    smoothly, and functions with a derivative of their own, may be told wrongly.

    Args:
        network: Any PyTree with `__call__`.
        x: One input; only its shape matters.

    Returns:
        Names such as `["relu", "max"]`, each once, in the order of the calls.
    """
    jaxpr = _jaxpr(network, x)
    here: list[Known] = [{} for _ in jaxpr.invars[:-1]]
    return list(_join(_walk(jaxpr, [*here, None])) or ())


def _jaxpr(network: PyTree, x: Float[Array, "*features"]) -> Jaxpr:
    """The jaxpr of a network, a function of its weights and one input."""
    weights, rest = _tree.partition(network)
    leaves, structure = jax.tree.flatten(weights)

    def outputs(leaves, x):
        return eqx.combine(jax.tree.unflatten(structure, leaves), rest)(x)

    return jax.make_jaxpr(outputs)(leaves, jnp.asarray(x)).jaxpr


def _walk(jaxpr: Jaxpr, inputs: list[Known]) -> list[Known]:
    """What is known of the outputs, given what is known of the inputs."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))
    made_by: dict = {}

    def read(atom) -> Known:
        return None if isinstance(atom, Literal) else known.get(atom)

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        if equation.primitive.name == "log":
            # `logsumexp` takes |z| of a positive number, and log |z| has no kink.
            operands = [made_by.get(str(equation.invars[0]), operands[0])]
        outputs = _apply(equation, operands)
        known.update(zip(equation.outvars, outputs, strict=True))
        if equation.primitive.name == "abs":
            made_by[str(equation.outvars[0])] = operands[0]
    return [read(atom) for atom in jaxpr.outvars]


def _apply(equation: JaxprEqn, operands: list[Known]) -> list[Known]:
    """What is known of the outputs of one equation."""
    primitive, name = equation.primitive.name, function_name(equation)
    everything = _join(operands)
    count = len(equation.outvars)
    if everything is None or primitive in CONSTANT:
        return [None] * count
    if primitive in COMPARISONS:
        return [{GATE: None}]
    if primitive == "select_n" and any(case is not None for case in operands[1:]):
        return [_join(operands)]
    if primitive == "select_n":
        return [None]
    if primitive in KINKS:
        return [everything | {KINKS[primitive]: None}] * count
    if _exponent(equation) > 1:
        # |u|^p and relu(u)^p are smooth, which says nothing of max(u, v)^p.
        kept = [k for k in everything if k != "abs" and "relu" not in k]
        return [dict.fromkeys(kept)]
    inner = list(inner_jaxprs(equation))
    if not inner or name in SMOOTH:
        return [everything] * count
    found = [_walk(jaxpr, _fitted(operands, jaxpr)) for jaxpr in inner]
    fitting = [outputs for outputs in found if len(outputs) == count]
    if primitive in LOOPS or not fitting:
        outputs = [_join(known for outputs in found for known in outputs)] * count
    else:
        outputs = [_join(several) for several in zip(*fitting, strict=True)]
    return [_renamed(known, everything, name) for known in outputs]


def _exponent(equation: JaxprEqn) -> float:
    """The power that an equation raises to, 1 if it does not or by one not known."""
    if equation.primitive.name == "square":
        return 2.0
    if equation.primitive.name == "integer_pow":
        return float(equation.params["y"])
    if equation.primitive.name == "pow" and isinstance(equation.invars[1], Literal):
        return float(equation.invars[1].val)
    return 1.0


def _renamed(known: Known, before: Known, name: str) -> Known:
    """Kinks inside a function called something like ReLU, under its name."""
    new = (known or {}).keys() - (before or {}).keys()
    if known is None or not new or "relu" not in name:
        return known
    return {kink: None for kink in known if kink not in new} | {name: None}


def _fitted(operands: list[Known], jaxpr: Jaxpr) -> list[Known]:
    """The operands of an equation as inputs of a jaxpr that it calls."""
    if len(operands) == len(jaxpr.invars):
        return operands
    return [_join(operands)] * len(jaxpr.invars)


def _join(parts: Iterable[Known]) -> Known:
    parts = [part for part in parts if part is not None]
    return {name: None for part in parts for name in part} if parts else None
