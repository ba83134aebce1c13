r"""The kinks at a stationary direction: gates in between, and deviations they allow.

At the gates $s_k$ of the kinks that are slid along the gradients of the margins are
those of Clarke, and the condition of Karush, Kuhn and Tucker reads

$$L m \theta = (J^\top q)_{s=0} + \sum_k s_k c_k \nabla u_k, \quad 0 \leq s_k \leq 1 .$$

If $0 < s_k < 1$ and $c_k < 0$, a deviation that leaves kink $k$ lowers
$\langle q, z \rangle$ at first order, and decays. On any other kink with $u_k = 0$, as
all those of a unit that is zero, nothing is known of deviations that leave it: the
derivatives that a flow sees are those of one side. Nor are second derivatives known
where a squared ReLU is at zero.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int

from .._directions import kink_rows, kink_values
from .._field import Field
from .._sides import slid
from .._slides import (
    multipliers as gates_of,
    strengths,
    wrong_gates,
)


ON_KINK = 1e-9
"""A kink function is zero where it is below this share of its gradient."""

BENT, ASIDE = 1e-3, 1e-7
"""Second derivatives do not jump that change by less than this share so far aside."""

FAINT = 1e-3
"""Those of a unit are at least this share of those of the whole: below is rounding."""

LOOKS = 4
"""Changes at random that tell how large the gradients of kink functions are, and
whether second derivatives jump."""


class Crossings(NamedTuple):
    """What kinks have to say about a stationary direction.

    Attributes:
        slides: The kinks that are slid along.
        gates: Their multipliers; NaN where they do not matter.
        residual: Of the condition above, against $L m$.
        wrong: How many gates are on the wrong side.
        outside: How many multipliers are outside of [0, 1].
        open: How many kinks that are slid along do not repel deviations at first order.
        units: How many kinks of a sample are at zero for some sample, and not slid
            along: units that deviations can switch on.
        bends: How many active margins have second derivatives that jump there.
        leaves: Whether some deviation that grows crosses none of these.
    """

    slides: Int[np.ndarray, " kinks"]
    gates: Float64[np.ndarray, " kinks"]
    residual: float
    wrong: int
    outside: int
    open: int
    units: int
    bends: int
    leaves: bool


NONE = Crossings(np.zeros(0, int), np.zeros(0), 0.0, 0, 0, 0, 0, 0, True)


def crossings(
    field: Field,
    theta: Float64[np.ndarray, " weights"],
    multipliers: Float64[np.ndarray, " margins"],
    active: Int[np.ndarray, " active"],
    growing: Float64[np.ndarray, "growing weights"],
    degree: float,
) -> Crossings:
    """What the kinks of a field say about a direction of norm one.

    Args:
        field: The field, at the gates there; the kinks it slides along have no -1.
        theta: The direction.
        multipliers: Of the margins, to any scale.
        active: The margins that are smallest; gates of other samples do not matter.
        growing: Deviations that grow at these gates.
        degree: The degree of homogeneity.
    """
    bends = int(np.sum(_bends(field, jnp.asarray(theta), jnp.asarray(active))))
    if field.kinks.count == 0:
        return NONE._replace(bends=bends)
    total = np.sum(multipliers)
    dual = multipliers / (total if total > 0 else 1.0)
    wrong, zero = map(np.array, _wrong_or_zero(field, jnp.asarray(theta)))
    margins, pull, rows, s, slack, strength = map(
        np.asarray, _pulls(field, jnp.asarray(theta), jnp.asarray(dual))
    )
    slides = np.asarray(field.gates.slides[0])
    carries = of_samples(field, np.flatnonzero(dual > 0))[slides // field.kinks.count]
    held = np.where(carries, s * strength, 0.0)
    curved = degree * float(dual @ margins)
    drift = theta - (pull + held @ rows) / curved
    # Those that hold nothing are kinks at zero like others.
    faint = np.abs(strength) * np.linalg.norm(rows, axis=1) <= ON_KINK * curved
    inside = (s >= -slack) & (s <= 1 + slack)
    zero.ravel()[slides[faint]] = True
    zero &= of_samples(field, active)[:, None]
    repels = (s > slack) & (s < 1 - slack) & (strength < 0)
    return Crossings(
        slides=slides,
        gates=np.where(carries & (inside | ~faint), s, np.nan),
        residual=float(np.linalg.norm(drift)),
        wrong=int(np.sum(wrong[of_samples(field, active)])),
        outside=int(np.sum(~inside & ~faint)),
        open=int(np.sum(inside & ~repels & ~faint)),
        units=int(np.sum(np.any(zero, axis=0))),
        bends=bends,
        leaves=any(not crosses(field, theta, way, zero) for way in growing),
    )


def crosses(field, theta, way, zero) -> bool:
    """Whether a deviation takes kinks at zero to the wrong side, on either way out."""
    speed = np.asarray(_turn(field, jnp.asarray(theta), jnp.asarray(way)))
    speed = np.where(np.asarray(field.gates.on), speed, -speed)[zero]
    return bool(np.any(speed < -ON_KINK) and np.any(speed > ON_KINK))


def of_samples(field: Field, margins: Int[np.ndarray, " some"]):
    """Which samples have some of these margins."""
    samples = np.zeros(field.flow.samples, bool)
    samples[np.asarray(margins) // field.flow.per_sample] = True
    return samples


def any_wrong(field: Field, theta: Float64[np.ndarray, " weights"]) -> bool:
    """Whether some gate is on the wrong side."""
    if field.kinks.count == 0:
        return False
    return bool(_wrong_or_zero(field, jnp.asarray(theta))[0].any())


@eqx.filter_jit
def _bends(field, theta, active):
    """Which margins have second derivatives that are others on another side."""
    chances = np.random.default_rng(0).normal(size=(LOOKS, theta.size))
    chances = ASIDE * chances / np.linalg.norm(chances, axis=1, keepdims=True)
    samples, within = jnp.divmod(active, field.flow.per_sample)
    unit, _ = field.units.assign(theta)

    def norms(vector):
        return field.units.norms(vector, unit)

    def one(given):
        sample, which = given
        on, x, y = (a[sample] for a in (field.gates.on, field.flow.x, field.flow.y))

        def slope(point):
            return jax.grad(lambda p: field.sample(p, on, x, y)[0][which])(point)

        here = slope(theta)
        after, before = (
            jax.lax.map(lambda way: (slope(theta + side * way) - here) / side, chances)
            for side in (1.0, -1.0)
        )
        # Unit by unit: of a small one among many nothing is seen in the whole.
        whole = jnp.linalg.norm(after, axis=1) + ASIDE * jnp.linalg.norm(here)
        change, size = jax.vmap(norms)(after - before), jax.vmap(norms)(after)
        return ~jnp.all(change <= BENT * (size + FAINT * whole[:, None]))

    return jax.lax.map(one, (samples, within))


@eqx.filter_jit
def _turn(field, theta, way):
    return jax.jvp(lambda p: kink_values(field, p), (theta,), (way,))[1]


@eqx.filter_jit
def _wrong_or_zero(field, theta):
    """The gates on the wrong side, and the kinks at zero that are not slid along."""
    chances = np.random.default_rng(0).normal(size=(LOOKS, theta.size))
    turns = jax.lax.map(lambda chance: _turn(field, theta, chance), chances)
    steepness = jnp.sqrt(jnp.mean(turns**2, axis=0))
    values = kink_values(field, theta)
    zero = (jnp.abs(values) <= ON_KINK * steepness) & (steepness > 0)
    zero = zero & ~slid(field.gates)
    return wrong_gates(field, theta) & ~zero, zero


@eqx.filter_jit
def _pulls(field, theta, dual):
    """The pull of the margins and of each kink that is slid along."""
    margins, pullback = jax.vjp(field.margins, theta)
    pull, slides = pullback(dual)[0], field.gates.slides[0]
    if slides.size == 0:
        s = jnp.zeros(0)
        return margins, pull, jnp.zeros((0, theta.size)), s, s, s
    rows = kink_rows(field, theta, slides)
    s, slack = (found[0] for found in gates_of(field, theta, dual))
    return margins, pull, rows, s, slack, strengths(field, theta, dual, slides, s)
