r"""Kinks at a point: where they are, which gates are wrong, and sliding along them.

Every kink of a sample takes one of two branches that agree where its function $u$ is
zero. At frozen gates the margins are smooth, and so are all $u_k$. On the kinks $S$
that a flow slides along it is held at $u_k = 0$: it moves by $P_V J^\top q$, with
$P_V$ the projection orthogonal to $V = \mathrm{span}\{\nabla u_k\}$, since
$J^\top q$ at gates $s_k \in [0, 1]$ differs from that at $s_k = 0$ only within $V$:

$$J^\top q = (J^\top q)_{s=0} + \sum_{k \in S} s_k c_k \nabla u_k, \qquad
  c_k \nabla u_k = \partial_{s_k} \nabla \langle q, z \rangle .$$

The multipliers $s_k$ follow from the part that is removed. When one leaves $[0, 1]$ the
flow leaves the kink.

References:
    Filippov (1988), "Differential Equations with Discontinuous Righthand Sides".
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ._directions import Directions, kink_directions, kink_values
from ._field import Field
from ._sides import Gates, slid
from ._types import Scalar


ROUNDED = 1e-12
"""A kink function of the wrong sign is zero if it is below this share of its terms."""

LOOKS = 4
"""Changes at random that tell how large the terms of a kink function are."""

OUTSIDE = 1e-10
"""A multiplier so far outside of [0, 1] has left it."""

UNSEEN = 5e8
"""The dual weight of an unseen sample is at most this: it decides gates, and their
multipliers must keep digits."""

PASSES = 3
"""How often multipliers are solved for where kinks lie behind kinks."""


def with_gates(field: Field, gates: Gates) -> Field:
    """The same flow at other gates."""
    return eqx.tree_at(lambda f: f.gates, field, gates)


def jump_rows(
    field: Field,
    points: Float[Array, "some weights"],
    duals: Float[Array, "some margins"],
    numbers: Int[Array, " some"],
    mixed: Float[Array, "some kinks"] | None = None,
) -> Float[Array, "some weights"]:
    r"""How $J^\top q$ jumps where one gate goes from off to on, at points of their own.

    Args:
        field: The flow.
        points: One for each kink.
        duals: One $q$ for each.
        numbers: Of the kinks; -1 for none.
        mixed: The gates of each one's sample, if they are not those of the field.
    """

    def one(point, dual, number, gates):
        sample, kink = jnp.divmod(jnp.maximum(number, 0), field.kinks.count)
        x, y = field.flow.x[sample], field.flow.y[sample]
        own = dual.reshape(field.flow.samples, -1)[sample]

        def gradient(gates):
            def total(point):
                return jnp.dot(own, field.sample(point, gates, x, y)[0])

            return jax.grad(total)(point)

        turn = jnp.zeros_like(gates).at[kink].set(1.0)
        jump = jax.jvp(gradient, (gates,), (turn,))[1]
        return jnp.where(number >= 0, jump, 0.0)

    if mixed is None:
        mixed = field.gates.on[numbers // max(field.kinks.count, 1)].astype(float)
    return jax.vmap(one)(points, duals, numbers, mixed)


def projector(
    field: Field, point: Float[Array, " weights"]
) -> Callable[[Float[Array, "*rows weights"]], Float[Array, "*rows weights"]]:
    """What takes from a motion, or from each of several, all that leaves the kinks."""
    gates, blocks = field.gates, field.blocks
    if gates.slides.size == 0:
        return lambda vectors: vectors
    if field.straight:

        def project(vectors):
            along = jnp.einsum("brd,...bd->...br", gates.normals, blocks.split(vectors))
            return vectors - blocks.joined(
                jnp.einsum("brd,...br->...bd", gates.normals, along)
            )

        return project

    def moving():
        found = kink_directions(field, point, gates.slides)
        return found.rows[0], jnp.linalg.cholesky(found.gram[0])

    def none():
        room, most = gates.normals.shape[1:]
        return jnp.zeros((room, most)), jnp.eye(room)

    rows, factor = jax.lax.cond(jnp.any(gates.slides >= 0), moving, none)

    def once(vectors):
        along = rows @ jnp.atleast_2d(vectors).T
        found = jax.scipy.linalg.cho_solve((factor, True), along).T @ rows
        return vectors - found.reshape(vectors.shape)

    return lambda vectors: once(once(vectors))


def free_gradient(
    field: Field, point: Float[Array, " weights"], dual: Float[Array, " margins"]
) -> Float[Array, " weights"]:
    r"""$P_V J^\top q$, or what is steepest along it in another norm."""
    _, pullback = jax.vjp(field.margins, point)
    return field.norm.direction(projector(field, point)(pullback(dual)[0]))


def multipliers(
    field: Field,
    point: Float[Array, " weights"],
    dual: Float[Array, " margins"],
) -> tuple[Float[Array, "blocks room"], Float[Array, "blocks room"]]:
    r"""The gates that hold the flow on the kinks it slides along, and their slack.

    Args:
        field: The flow.
        point: Where all these kinks have $u = 0$.
        dual: $q$, of unseen samples too.

    Returns:
        $s$, 1/2 for none; and how far outside of [0, 1] rounding may put it.
    """
    slides = field.gates.slides
    found = kink_directions(field, point, slides)
    pull = jax.vjp(field.margins, point)[1](dual)[0]
    return multipliers_along(field, point, dual, slides, found, pull, slides >= 0)[:2]


def multipliers_along(
    field: Field,
    point: Float[Array, " weights"],
    dual: Float[Array, " margins"],
    numbers: Int[Array, "blocks room"],
    found: Directions,
    pull: Float[Array, " weights"],
    some: Bool[Array, "blocks room"],
) -> tuple[Array, Array, Array]:
    r"""The same for some of the kinks that have these numbers and directions.

    Args:
        field: The flow.
        point: Where all these kinks have $u = 0$.
        dual: $q$, of unseen samples too.
        numbers: Of the kinks; -1 for none.
        found: Their directions.
        pull: $J^\top q$, with the gates of these some off.
        some: Those that are slid along.

    Returns:
        $s$, its slack, and the strengths of all.
    """
    parts = field.blocks.split(pull)
    needed = -found.solve(found.along(parts), some) / found.sizes
    s = strength = jnp.zeros(numbers.shape)
    on = field.gates.on.ravel()[numbers]
    for _ in range(1 if field.straight else PASSES):
        mixed = jnp.where(some, jnp.clip(s, 0.0, 1.0), on)
        strength = strengths(field, point, dual, numbers, mixed)
        s = needed / jnp.where(strength != 0, strength, 1e-300)
    # Rounding in the pull at the weights of each kink, against what its gate does.
    pulled = jnp.einsum("brd,bd->br", jnp.abs(found.rows), jnp.abs(parts))
    slack = ROUNDED * pulled / jnp.maximum(jnp.abs(strength) * found.sizes, 1e-300)
    return jnp.where(some, s, 0.5), OUTSIDE + jnp.minimum(slack, 1.0), strength


def strengths(
    field: Field,
    point: Float[Array, " weights"],
    dual: Float[Array, " margins"],
    numbers: Int[Array, "*some"],
    s: Float[Array, "*some"],
) -> Float[Array, "*some"]:
    r"""$c_k$ of some kinks at $u = 0$, whose gates are $s$ whatever the field has.

    Along any direction $\partial_{s_k} \langle q, z \rangle$ changes by $c_k$ times
    the change of $u_k$: one direction at random shows all.
    """
    shape = field.gates.on.shape
    gates = jnp.append(field.gates.on.astype(float).ravel(), 0.0)
    gates = gates.at[numbers].set(jnp.where(numbers >= 0, s, 0.0))[:-1]
    gates, samples = gates.reshape(shape), (field.flow.x, field.flow.y)

    def each(point, gates):
        return jax.vmap(field.sample, (None, 0, 0, 0))(point, gates, *samples)

    def both(point):
        slope = jax.grad(lambda g: jnp.dot(dual, jnp.ravel(each(point, g)[0])))(gates)
        return slope, each(point, gates)[1]

    _, sizes = field.units.assign(point)
    sizes = jnp.where(sizes > 0, sizes, jnp.max(sizes))  # zero units move as well
    chance = np.random.default_rng(1).normal(size=point.size)
    _, (slope, change) = jax.jvp(both, (point,), (chance * sizes,))
    found = slope / jnp.where(change != 0, change, jnp.inf)
    return jnp.append(found.ravel(), 0.0)[numbers]


def wrong_gates(
    field: Field, point: Float[Array, " weights"]
) -> Bool[Array, "samples kinks"]:
    """The kinks whose function has the wrong sign for their gate, beyond rounding."""
    on, values = field.gates.on, kink_values(field, point)
    against = jnp.where(on, -values, values)
    wrong = (against > 0) & ~slid(field.gates)

    def beyond():
        return wrong & (against > ROUNDED * term_sizes(field, point))

    return jax.lax.cond(jnp.any(wrong), beyond, lambda: wrong)


def term_sizes(
    field: Field, point: Float[Array, " weights"]
) -> Float[Array, "samples kinks"]:
    """How large the terms of kink functions are.

    What changes of all weights do to them, each as large as its unit, at random.
    """
    _, sizes = field.units.assign(point)
    chances = np.random.default_rng(0).normal(size=(LOOKS, point.size))

    def add(squares, chance):
        move = (chance * sizes,)
        change = jax.jvp(lambda p: kink_values(field, p), (point,), move)[1]
        return squares + change**2, None

    squares, _ = jax.lax.scan(add, jnp.zeros(field.gates.on.shape), chances)
    return jnp.sqrt(squares / LOOKS)


def full_dual(
    field: Field,
    margins: Float[Array, " margins"],
    log_radius: Scalar,
    dual: Float[Array, " margins"],
) -> Float[Array, " margins"]:
    """Dual weights, those of unseen samples in proportion: they too decide gates."""
    if field.duals.linear:
        return dual
    seen = dual > 0
    whole = field.dual_weights(margins, log_radius, seen, ~seen)
    return jnp.where(seen, dual, jnp.minimum(whole, UNSEEN))
