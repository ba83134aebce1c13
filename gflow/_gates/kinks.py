"""Any JAX function as a smooth function of its weights: its kinks, frozen."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Bool, Float, PyTree

from .. import _tree
from .evaluate import Gates, Tape, evaluate
from .lines import Trial
from .plan import Plan, make_plan
from .probe import smooth_groups
from .program import held_jaxprs, program_of


TELLING, LOOKED = 16, 10_000
"""On how many samples kinks are looked for at most, chosen among how many."""

MOST = 256
"""How many functions are remembered: each trial compiles, for a quarter of a second."""

READY = "relu", "relu6", "logaddexp", "fractional_power"
"""Functions of JAX's and ours that have a derivative of their own, known by name."""


@dataclass(frozen=True)
class Kinks:
    """The kinks of a function; hashable, and the same for weights of the same shapes.

    Attributes:
        gated: Which groups of kinks have gates, in the order of evaluation; the others
            are smooth joins of two functions.
        count: How many gates there are in one evaluation.
    """

    gated: tuple[bool, ...]
    count: int


_FOUND: dict[bytes, Kinks] = {}
_TRIALS: dict[bytes, Trial] = {}


def find_kinks(fn: Callable[..., Array], network: PyTree, *args: Array) -> Kinks:
    r"""The kinks of `fn(network, *args)` as a function of the weights of `network`.

    Each is a choice between two values, $a$ if $u > 0$ and otherwise $b$: those of
    `max`, `abs`, `where` with a comparison of floats, and of the pairs that a maximum
    over many is made of. Only what depends on the weights counts. A join of two
    functions with the same derivative is no kink, as in `elu` or `max(u, 0)**2`: it is
    told by trial, at zeros of u on lines between random weights. Nor is a comparison
    whose u changes its sign on none of them: it guards, as against division by zero.

    Args:
        fn: A function of a network and of arrays with one array as its value.
        network: Any PyTree; its weights are its inexact arrays outside of `Fixed`.
        *args: The other arguments of `fn`.

    Returns:
        What `record` and `frozen` need to know.

    Raises:
        ValueError: If `fn` jumps, or has a kink that is not supported: one in a loop,
            of a sort, an `argmax` or a rounded value, or between values not finite.
    """
    values, weights, closed = _traced(fn, network, args)
    plan = make_plan(program_of(closed), weights)
    if not plan.groups:
        return Kinks((), 0)
    text = f"{weights} {closed}"
    consts = list(_constants(closed))
    key = _key(text, [*consts, *values])
    found = _FOUND.get(key)
    if found is None:
        found = _find(_trial(plan, text, consts, values, weights), values)
        if _is_told_by(text):
            _keep(_FOUND, key, found)
    return found


def find_kinks_of(
    fn: Callable[..., Array], network: PyTree, x: Array, *others: Array
) -> Kinks:
    """The kinks of `fn(network, x, ...)` of whichever sample.

    A sample may hide some: where its inputs are zero, their u is zero for all weights.
    So they are looked for on a few samples, of which one or another has each input.

    Args:
        fn: A function of a network and of one sample.
        network: As for `find_kinks`.
        x: Inputs, one sample a row.
        *others: What else a sample has, one a row.

    Raises:
        ValueError: As `find_kinks`.
    """
    first, *left = telling(x)
    found = find_kinks(fn, network, *(a[first] for a in (x, *others)))
    for k in left:
        if all(found.gated):
            break
        sample = tuple(a[k] for a in (x, *others))
        more = find_kinks(fn, network, *sample)
        gated = tuple(a or b for a, b in zip(found.gated, more.gated, strict=True))
        if gated == more.gated:
            found = more
        elif gated != found.gated:
            values, weights, closed = _traced(fn, network, sample)
            plan = make_plan(program_of(closed), weights)
            found = Kinks(gated, _count(plan, gated, values))
    return found


def telling(x: Array) -> list[int]:
    """A few samples, of which one or another has each input other than zero."""
    some = np.asarray(x[:LOOKED]) != 0
    some = some.reshape(len(some), -1)
    left, chosen = np.ones(some.shape[1], bool), []
    while len(chosen) < TELLING:
        shown = np.count_nonzero(some & left, axis=1)
        best = int(np.argmax(shown))
        if chosen and shown[best] == 0:
            break
        chosen.append(best)
        left &= ~some[best]
    return chosen


def _trial(
    plan: Plan,
    text: str,
    consts: Sequence[Any],
    values: list[Array],
    weights: tuple[bool, ...],
) -> Trial:
    """What is compiled of a function: for other weights it is there again."""
    key = _key(text, consts)
    known = _TRIALS.get(key)
    if known is not None:
        return known
    trial = Trial(plan, values, weights)
    if _is_told_by(text):
        _keep(_TRIALS, key, trial)
    return trial


def _is_told_by(text: str) -> bool:
    """Whether the text of a function is all of it.

    Of derivatives that users define it has the name, and another may have the same.
    """
    rules = re.findall(r"custom_[jv][vj]p_call(?:\[\s*name=(\w+))?", text)
    return all(rule in READY for rule in rules)


def _keep(known: dict[bytes, Any], key: bytes, value: Any) -> None:
    if len(known) >= MOST:
        known.clear()
    known[key] = value


def _constants(closed: ClosedJaxpr) -> Iterator[Any]:
    """The arrays that a function has captured, at any depth: text has their shapes."""
    yield from closed.consts
    for equation in closed.jaxpr.eqns:
        for parameter in equation.params.values():
            if eqx.is_array(parameter) or isinstance(parameter, np.ndarray):
                yield parameter
        for held in held_jaxprs(equation):
            yield from _constants(held)


def _key(text: str, values: Sequence[Any]) -> bytes:
    """All that the kinks of a function depend on, or without weights a trial."""
    digest = hashlib.sha256(text.encode())
    for value in values:
        is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        plain = jax.random.key_data(value) if is_key else value
        digest.update(np.asarray(plain).tobytes())
    return digest.digest()


def _find(trial: Trial, values: list[Array]) -> Kinks:
    plan, smooth = trial.plan, smooth_groups(trial, values)
    gated = tuple(group not in smooth for group in range(plan.groups))
    return Kinks(gated, _count(plan, gated, values))


def _count(plan: Plan, gated: tuple[bool, ...], values: list[Array]) -> int:
    """How many gates these groups have."""
    kinks = jax.eval_shape(
        lambda *values: evaluate(plan, gated, None, values)[1].kinks, *values
    )
    size = sum(u.size for u in kinks)
    # Also shows what cannot be done with gates between off and on.
    jax.eval_shape(
        lambda gates, *values: evaluate(plan, gated, gates, values)[0],
        jax.ShapeDtypeStruct((size,), float),
        *values,
    )
    return size


def record(
    fn: Callable[..., Array], kinks: Kinks, network: PyTree, *args: Array
) -> tuple[Array, Bool[Array, " kinks"], Float[Array, " kinks"]]:
    r"""The value of `fn(network, *args)`, the gates that it chose, and u at each.

    Args:
        fn: The function.
        kinks: Its kinks, from `find_kinks`.
        network: The network, with weights of the same shapes as there.
        *args: The other arguments, of the same shapes as there.

    Returns:
        The value, the gates, on where $u > 0$, and u.
    """
    if not kinks.count:
        none = jnp.zeros(0)
        return fn(network, *args), none > 0, none
    out, tape = _run(fn, kinks, None, network, args)
    return out, jnp.concatenate(tape.gates), jnp.concatenate(tape.kinks)


def frozen(
    fn: Callable[..., Array], kinks: Kinks, gates: Gates, network: PyTree, *args: Array
) -> tuple[Array, Float[Array, " kinks"]]:
    r"""The value of `fn(network, *args)` if it chose by these gates, and u at each.

    A smooth function of the weights, equal to `fn` as long as each gate is on exactly
    where $u > 0$. Gates that are numbers $s$ mix both cases, $s a + (1 - s) b$.

    Args:
        fn: The function.
        kinks: Its kinks, from `find_kinks`.
        gates: Booleans as from `record`, or numbers from zero to one.
        network: The network, with weights of the same shapes as there.
        *args: The other arguments, of the same shapes as there.

    Returns:
        The value and u, whatever its sign, with the kinks before it frozen likewise.
    """
    if not kinks.count:
        return fn(network, *args), jnp.zeros(0)
    out, tape = _run(fn, kinks, gates, network, args)
    return out, jnp.concatenate(tape.kinks)


def _traced(
    fn: Callable[..., Array], network: PyTree, args: tuple[Any, ...]
) -> tuple[list[Array], tuple[bool, ...], ClosedJaxpr]:
    """The arrays that a function reads, which of them are weights, and its jaxpr."""
    moving, still = _tree.partition((network, args))
    weights, _ = _tree.partition(network)
    arrays, rest = eqx.partition(still, eqx.is_array)
    first, structure = jax.tree.flatten(moving)
    second, other = jax.tree.flatten(arrays)
    number = len(jax.tree.leaves(weights))

    def outputs(*values):
        moving = jax.tree.unflatten(structure, values[: len(first)])
        arrays = jax.tree.unflatten(other, values[len(first) :])
        network, args = eqx.combine(moving, arrays, rest)
        return fn(network, *args)

    values = [jnp.asarray(value) for value in (*first, *second)]
    is_weight = tuple(index < number for index in range(len(values)))
    return values, is_weight, jax.make_jaxpr(outputs)(*values)


def _run(
    fn: Callable[..., Array],
    kinks: Kinks,
    gates: Gates | None,
    network: PyTree,
    args: tuple[Array, ...],
) -> tuple[Array, Tape]:
    values, weights, closed = _traced(fn, network, args)
    plan = make_plan(program_of(closed), weights)
    if plan.groups != len(kinks.gated):
        raise ValueError(
            f"`kinks` must be those of `fn`, which has {plan.groups} groups, but has "
            f"{len(kinks.gated)}. Call `find_kinks` on the same function and shapes."
        )
    out, tape = evaluate(plan, kinks.gated, gates, values)
    if tape.used != kinks.count:
        raise ValueError(
            f"`kinks` must be those of `fn`, which has {tape.used} for arrays of these "
            f"shapes, but it has {kinks.count}. Call `find_kinks` on these."
        )
    return out, tape
