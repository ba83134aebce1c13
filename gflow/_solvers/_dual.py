r"""The dual weights of an implicit stage whose margins are linear in them.

Find $q$ on the simplex with $\log q + c = \log g(R (b + \eta K q))$: for the
exponential loss, the optimality condition of $\min_q \tfrac12 \eta R\, q^\top K q
+ R \langle b, q\rangle + \sum q \log q$. It is mild however large $R$ is, where the
same equation in the network's weights is hopeless. Under the square loss it is linear.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._field import Field
from .._flow import AbstractFlow
from .._logs import log_sum_exp
from .._types import Scalar
from ._gram import AbstractGram, AbstractPositive, solve_sum
from ._newton import solve_newton


MAX_ITERATIONS = 50
FLOOR, HUGE = 1e-280, 1e280
"""The least and greatest weights that are kept: logarithms must stay finite."""

LOG_HUGE = 600.0

CROWD = 128
"""With more weights than this, the guards against overshooting together are worth the
time that they take to compile and run."""

SHARES = np.asarray([1.0, 0.5, 0.25, 0.1, 0.03])
"""Of Newton's step, among which the best is taken where the step by weight fails."""

LEAST_LEFT = 0.1
"""What any of them leaves of each weight."""

BOLD, NEAR, SHARPEN = 10, 1.0, 6.0
"""If so many iterations have not come this near the solution, begin again at a scale at
which margins are of order one, and sharpen them by this factor whenever that near."""

WEIGHT_DROP = 1e-2
"""A predicted weight is at least this much of the last: an extrapolation may go below
zero. Found by trial on toy problems; 1e-1 and 1e-3 do as well."""


def predict_weights(
    free: bool,
    predicted: Float[Array, " m"],
    last: Float[Array, " m"],
    lost: Bool[Array, " m"],
) -> Float[Array, " m"]:
    """An extrapolation of dual weights, made admissible."""
    if free:
        return predicted
    positive = jnp.maximum(predicted, WEIGHT_DROP * last)
    return positive / jnp.sum(jnp.where(lost, 0.0, positive))


def stage_weights(
    field: Field,
    weights: Float[Array, " m"],
    shift: Float[Array, " m"],
    gram: AbstractGram,
    flat: Bool[Array, ""],
    scale: Scalar,
    seen: Bool[Array, " m"],
    eta: Scalar,
    tolerance: Scalar,
) -> Float[Array, " m"]:
    r"""The dual weights of a stage, whatever its matrix $K$.

    Where $K$ is that of a flat model, or positive all the same, by `solve_weights`;
    else by one step of Newton's method, damped.

    Args:
        field: Gives $\log g$ and its slopes.
        weights: The guess.
        shift: The vector $b$.
        gram: The matrix $K$.
        flat: Whether $K$ is known to be symmetric and positive.
        scale: The scale $R$ of the margins.
        seen: The margins that count.
        eta: The length of the stage.
        tolerance: The error at which to stop.
    """
    if field.free:
        return gram.resolve(eta, -shift)
    flow = field.flow
    half, lower = gram.positive(flat)
    # The part of K that is not symmetric is corrected by the outer iteration.
    tilted = shift + eta * (gram.times(weights) - half.rows(weights))

    def linear():
        return linear_weights(flow, weights, shift, gram, scale, seen, eta)

    found = jax.lax.cond(
        jnp.isfinite(lower),
        lambda: solve_weights(flow, weights, tilted, half, scale, seen, eta, tolerance),
        lambda: weights * jnp.nan,
    )
    # K may be positive but for its rounding, which a large scale magnifies.
    return jax.lax.cond(jnp.isfinite(jnp.sum(found)), lambda: found, linear)


def linear_weights(
    flow: AbstractFlow,
    weights: Float[Array, " m"],
    shift: Float[Array, " m"],
    gram: AbstractGram,
    scale: Scalar,
    seen: Bool[Array, " m"],
    eta: Scalar,
) -> Float[Array, " m"]:
    """One step of Newton's method for the dual weights, for any matrix $K$."""
    m = weights.shape[0]
    q = jnp.where(seen, jnp.maximum(weights, FLOOR), FLOOR)
    image = gram.times(q)
    margins = scale * (shift + eta * image)
    residual = jnp.where(seen, jnp.log(q) - goal_of(flow, margins, seen), 0.0)
    slopes, shares = flow.loss.weight_slopes(margins.reshape(-1, flow.rivals))

    def steep(columns):
        if shares is None:
            return jnp.ravel(slopes)[:, None] * columns
        parts = columns.reshape(-1, flow.rivals, columns.shape[1])
        parts = parts - jnp.einsum("nk,nkm->nm", shares, parts)[:, None]
        return parts.reshape(m, -1)

    # What all weights do to a margin alike changes nothing, their sum being one; and
    # far out it is so large that the rest would be lost beside it.
    columns, rows = gram.without(image / jnp.sum(q))
    columns = eta * scale * q[:, None] * steep(columns)
    both = jnp.stack([-q * residual, q], axis=1)
    change, along = solve_sum(columns, rows, both).T
    # Of all solutions, the one whose weights sum to one.
    change = change + along * (1 - jnp.sum(q) - jnp.sum(change)) / jnp.sum(along)
    new = jnp.where(seen, jnp.maximum(q + change, LEAST_LEFT * q), FLOOR)
    return new / jnp.sum(new)


def goal_of(
    flow: AbstractFlow, margins: Float[Array, " m"], seen: Bool[Array, " m"]
) -> Float[Array, " m"]:
    r"""$\log g$, normalized; next to nothing where a margin does not count."""
    goal = flow.log_weights(margins)
    most = jnp.max(jnp.where(seen, goal, -jnp.inf))
    goal = jnp.where(seen, goal, most - LOG_HUGE)
    return goal - log_sum_exp(goal)


def solve_weights(
    flow: AbstractFlow,
    weights: Float[Array, " m"],
    shift: Float[Array, " m"],
    gram: AbstractPositive,
    scale: Scalar,
    seen: Bool[Array, " m"],
    eta: Scalar,
    tolerance: Scalar,
) -> Float[Array, " m"]:
    r"""Newton's method on $r = \log q + c - \log g(R(b + \eta K q)) = 0$.

    Some things make it safe at any scale. Adding a constant to $K$ changes only the
    multiplier $c$, since $\sum \mathrm dq = 0$: it lifts the direction $q$, which $K$
    loses as the flow converges, and a Cholesky factor serves. Each weight moves not by
    its Newton step but to where $\log q_i + A_i q_i$ takes its predicted value ($A_i =
    \eta R s_i K_{ii}$): an exponential law where the weight is small, a linear one
    where it is large, both solved by the Wright omega function. And the error is
    measured in the motion of the stage, $\eta (\mathrm dq^\top K \mathrm dq)^{1/2}$, so
    that weights which degenerate constraints leave undetermined do not count.

    Many weights may still overshoot together. With a crowd of them the slope of the
    logarithm is taken between $q$ and its goal $p = q e^{-r}$: their logarithmic mean
    stands where Newton's method has $q$. If Jeffreys' distance $\sum (q - p)(\log q -
    \log p)$ does not halve, several shares of the Newton step are tried, and the best
    of all is taken. And if that does not come near, the iteration begins again with
    blunt margins, which it sharpens.

    Args:
        flow: Gives $\log g$ and its slopes.
        weights: The guess.
        shift: The vector $b$.
        gram: The matrix $K$, positive semi-definite.
        scale: The scale $R$ of the margins.
        seen: The margins that count.
        eta: The length of the stage.
        tolerance: The error at which to stop.
    """
    m = weights.shape[0]
    diagonal = gram.diagonal()
    # By the weights: where one has all of the weight and pulls at nothing, a larger
    # lift would hold the others to the rounding of their sum with it.
    lift = jnp.dot(weights, diagonal) / jnp.sum(weights) + 1e-300
    lifted = gram.lifted(lift)
    diagonal = jnp.maximum(diagonal, 1e-12 * lift)

    weights = jnp.where(seen, jnp.maximum(weights, FLOOR), FLOOR)
    first = gram.rows(weights)
    # In the units of the data, whatever they are.
    spread = jnp.max(jnp.where(seen, jnp.abs(shift), 0.0)) + eta * jnp.max(diagonal)
    mild = jnp.minimum(scale, 1 / jnp.maximum(spread, 1e-290))
    crowded = m > CROWD

    def compare(q, image, scale):
        """The residual, the distance it amounts to, and the margins."""
        margins = scale * (shift + eta * image)
        residual = jnp.log(q) - goal_of(flow, margins, seen)
        return residual, jnp.sum(_gap(q, residual) * residual), margins

    def admitted(new):
        return jnp.clip(new / jnp.sum(new), FLOOR, HUGE)

    def best_share(q, dq, new, sharp):
        def share_of_it(share):
            return admitted(jnp.maximum(q + share * dq, LEAST_LEFT * q))

        news = jnp.concatenate([jax.vmap(share_of_it)(SHARES), new[None]])
        images = gram.rows(news)
        distances = jax.vmap(compare, (0, 0, None))(news, images, sharp)[1]
        best = jnp.nanargmin(distances)
        return news[best], images[best], distances[best]

    def step(carry):
        q, image, sharp, near, count, _ = carry
        if crowded:
            again = (count == BOLD) & ~near
            q, image = jnp.where(again, weights, q), jnp.where(again, first, image)
            sharp = jnp.where(again, mild, sharp)
        residual, distance, margins = compare(q, image, sharp)
        slopes, shares = flow.loss.weight_slopes(margins.reshape(-1, flow.rivals))
        decay = jnp.maximum(jnp.ravel(slopes), 1e-20)
        mean = q
        if crowded:
            flat = jnp.abs(residual) < 1e-6
            slope = _gap(q, residual) / jnp.where(flat, 1.0, residual)
            mean = jnp.clip(jnp.where(flat, q, slope), FLOOR, HUGE)
        right = mean[:, None] * jnp.stack([residual, jnp.ones(m)], axis=1)
        # Nothing resists those that are not seen: all of q would go there.
        right = jnp.where(seen[:, None], right, 0.0)
        solved = solve_newton(eta * sharp, lifted, mean, decay, shares, right)
        change, per_multiplier = jnp.sum(solved, axis=0)
        multiplier = -(1 - jnp.sum(q) + change) / per_multiplier
        dq = -(solved[:, 0] + multiplier * solved[:, 1])

        stiffness = jnp.maximum(eta * sharp * decay * diagonal, FLOOR)
        target = jnp.log(q) + dq / mean + stiffness * (q + dq)
        product = wright_omega(target + jnp.log(stiffness))
        new = jnp.where(product > 1, product / stiffness, jnp.exp(target - product))
        new = admitted(jnp.where(seen, new, FLOOR))
        motion_image, step_image = gram.rows(jnp.stack([new - q, dq]))
        new_image = image + motion_image
        error = eta * (_size(new - q, motion_image) + _size(dq, step_image))
        if crowded:
            found = compare(new, new_image, sharp)[1]
            new, new_image, found = jax.lax.cond(
                found <= jnp.maximum(distance / 2, 1e-20),
                lambda: (new, new_image, found),
                lambda: best_share(q, dq, new, sharp),
            )
            error = jnp.where(sharp == scale, error, jnp.inf)
            near = found < NEAR
            sharp = jnp.where(near, jnp.minimum(SHARPEN * sharp, scale), sharp)
        return new, new_image, sharp, near, count + 1, error

    def unfinished(carry) -> Bool[Array, ""]:
        *_, count, error = carry
        return (count < MAX_ITERATIONS) & ~(error <= tolerance)

    start = (
        weights, first, scale, jnp.asarray(False), jnp.asarray(0), jnp.asarray(jnp.inf)
    )  # fmt: skip
    return jax.lax.while_loop(unfinished, step, start)[0]


def _size(motion: Float[Array, " m"], image: Float[Array, " m"]) -> Scalar:
    """How far the stage moves with its weights, from their image under $K$."""
    return jnp.sqrt(jnp.maximum(jnp.dot(motion, image), 0.0))


def _gap(q: Float[Array, " m"], residual: Float[Array, " m"]) -> Float[Array, " m"]:
    """How far weights are above those that the margins ask for."""
    return -q * jnp.expm1(-jnp.maximum(residual, -LOG_HUGE))


def wright_omega(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The solution $p > 0$ of $p + \log p = x$, to rounding, for every real $x$."""
    low = jnp.exp(jnp.minimum(x, 1.0))
    guess = jnp.where(x > 1, x - jnp.log(jnp.maximum(x, 1.0)), low / (1 + 0.7 * low))

    def halley(_, p):
        u = (x - p - jnp.log(p)) / (1 + p)
        return jnp.maximum(p * (1 + u / (1 - u / (2 * (1 + p)))), 1e-300)

    return jax.lax.fori_loop(0, 3, halley, jnp.maximum(guess, 1e-300))
