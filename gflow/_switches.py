"""Whether a network switches: whether it is made of pieces, as with ReLUs."""

import equinox as eqx
import jax
from jaxtyping import Array, PyTree


SWITCHES = frozenset(
    (
        *("abs", "argmax", "argmin", "clamp", "cond", "floor", "max", "min", "round"),
        *("reduce_max", "reduce_min", "select_n", "sign", "sort", "top_k", "while"),
    )
)
"""The primitives of JAX whose derivatives, or those of what they choose from, jump."""


def switches(network: PyTree, x: Array) -> bool:
    """Whether any part of `network(x)` is chosen, as JAX traces it.

    A smooth network may look as if it did, where a library guards against overflow.
    """
    jaxpr, _, _ = eqx.filter_make_jaxpr(lambda net, x: net(x))(network, x)
    return _holds_switch(jaxpr.jaxpr)


def _holds_switch(jaxpr) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name in SWITCHES:
            return True
        inner = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        )
        for part in inner:
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns") and _holds_switch(part):
                return True
    return False
