r"""Where $u = 0$ is, and $\nabla u$, of a piece of a network that is not known.

On the side that sees a sample its margin is $c u^{k+1}$ to leading order, besides what
it does on both sides. So its derivatives along a line, less what they would be without
the kink, tell $k$ and the way to $u = 0$, and its Hessian tells $\nabla u$.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ._field import Field
from ._types import Scalar


UNSURE = 1e-10
"""Differences that are so small a share of what they are of are rounding."""

EDGE = 0.05
"""A kink that seems so near to the place behind it, of the way between, is none: what
is smooth seems to bend there."""

FLAT = 1e-6
"""The least cosine between a line and $\\nabla u$."""

MOST_BENT = 100.0
"""The largest power of $u$ that a slope may be."""


class Pulling(NamedTuple):
    """Some margins, and their dual weights: all that may bend at one place.

    Of margins that bend at the same $u = 0$, as of one input with several labels, only
    the sum tells which way it pulls.
    """

    numbers: Int[Array, " some"]
    dual: Float[Array, " some"]

    def total(self, field: Field) -> Callable:
        r"""$\langle q, z \rangle$ as a function of the point."""
        sample, which = jnp.divmod(self.numbers, field.flow.per_sample)
        on, x, y = (a[sample] for a in (field.gates.on, field.flow.x, field.flow.y))

        def one(point, on, x, y, which):
            return field.sample(point, on, x, y)[0][which]

        def total(point):
            each = jax.vmap(one, (None, 0, 0, 0, 0))(point, on, x, y, which)
            return jnp.dot(self.dual, each)

        return total


class Foot(NamedTuple):
    r"""What margins tell of $u = 0$.

    Attributes:
        at: The way there, along $\nabla u$; not finite if it is not seen.
        slope: Of what they pull along $\nabla u$, as far beyond as was asked.
        power: Of $u$ in that slope, $k$.
        hidden: Whether what else they do may hide it.
        opposes: Whether they pull back, the more the further.
        normal: $\nabla u$, of norm one.
    """

    at: Scalar
    slope: Scalar
    power: Scalar
    hidden: Bool[Array, ""]
    opposes: Bool[Array, ""]
    normal: Float[Array, " weights"]


def foot_of(
    field: Field,
    point: Float[Array, " weights"],
    pulling: Pulling,
    direction: Float[Array, " weights"],
    place: Scalar,
    behind: Scalar,
    beyond: Scalar,
) -> Foot:
    r"""Where a line through a point meets $u = 0$.

    Args:
        field: The flow.
        point: The point.
        pulling: What bends there.
        direction: Of the line, of norm one, toward the side that sees the sample.
        place: Where on the line to look: on that side,
        behind: and on the other; not finite if there is nothing to see.
        beyond: How far beyond $u = 0$ to tell the slope.
    """
    known = jnp.isfinite(behind)
    step = jnp.where(known, place - behind, 0.0)
    both = jax.vmap(_looked, (None, None, None, None, 0))(
        field, point, pulling, direction, jnp.stack([place, place - step])
    )
    here, there = (jax.tree.map(lambda a, k=k: a[k], both) for k in range(2))
    there = jax.tree.map(lambda a: jnp.where(known, a, 0.0), there)
    first = here[0] - there[0] - step * (there[1] + step / 2 * there[2])
    second, third = here[1] - there[1] - step * there[2], here[2] - there[2]
    sees = (first != 0) & (second != 0)
    for difference, before, after in zip((first, second), there, here, strict=False):
        least = UNSURE * (jnp.abs(before) + jnp.abs(after))
        sees = sees & (jnp.abs(difference) > least)
    safe = jnp.where(sees, second, 1.0)
    power = 1 / jnp.clip(1 - (first / safe) * (third / safe), 1 / MOST_BENT, 1.0)
    way = power * first / safe
    sees = sees & (~known | ((way > 0) & (way < (1 - EDGE) * step)))
    normal = (here[3] - there[3]) * jnp.sign(second)
    normal = normal / jnp.where(sees, jnp.sqrt(jnp.sum(normal**2)), 1.0)
    cosine = jnp.where(sees, jnp.maximum(jnp.dot(normal, direction), FLAT), 1.0)
    way = jnp.where(sees, cosine * way, 1.0)
    slope = jnp.abs(first) * jnp.exp(power * jnp.log(beyond / jnp.abs(way)))
    return Foot(
        at=jnp.where(sees, cosine * place - way, jnp.inf),
        slope=jnp.where(sees, slope / cosine, 0.0),
        power=power,
        hidden=~sees & ((here[0] != 0) | (there[0] != 0)),
        opposes=sees & (second < 0),
        normal=jnp.where(sees, normal, direction),
    )


def _looked(field: Field, point, pulling, direction, place):
    """The slope of what pulls along a line, two more derivatives, and its gradient."""
    total, one = pulling.total(field), jnp.ones(())

    def gradient(length):
        return jax.grad(total)(point + length * direction)

    def bent(length):
        return jax.jvp(gradient, (length,), (one,))

    (pull, bend), (_, third) = jax.jvp(bent, (place,), (one,))
    return pull @ direction, bend @ direction, third @ direction, bend


def reach_of(
    direction: Float[Array, " weights"], size: Float[Array, " weights"]
) -> Scalar:
    """The length along a direction that moves some unit by its size."""
    against = jnp.where(size > 0, size, jnp.inf)
    return 1 / jnp.maximum(jnp.max(jnp.abs(direction) / against), 1e-300)
