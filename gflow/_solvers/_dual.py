r"""The weights of an implicit stage whose margins are linear in them.

Find $q$ on the simplex with $\log q + c = \log g(R (b + \eta K q))$: for the
exponential loss, the optimality condition of $\min_q \tfrac12 \eta R\, q^\top K q
+ R \langle b, q\rangle + \sum q \log q$. It is mild however large $R$ is, where the
same equation in the network's weights is hopeless. Under clocks of time $c$ is given in
place of the sum of $q$; under the square loss the equation is linear.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._flow import AbstractFlow
from .._types import Scalar
from ._newton import solve_newton
from ._positive import solve_positive


MAX_ITERATIONS = 30
FLOOR = 1e-280
"""The least weight that is kept: a logarithm must stay finite."""

WEIGHT_DROP = 1e-2
"""A predicted weight is at least this much of the last: an extrapolation may go below
zero. Found by trial on toy problems; 1e-1 and 1e-3 do as well."""


def predict_weights(
    dual: str, predicted: Float[Array, " m"], last: Float[Array, " m"]
) -> Float[Array, " m"]:
    """An extrapolation of weights, made admissible."""
    if dual == "free":
        return predicted
    positive = jnp.maximum(predicted, WEIGHT_DROP * last)
    return positive / jnp.sum(positive) if dual == "simplex" else positive


def solve_weights(
    flow: AbstractFlow,
    dual: str,
    weights: Float[Array, " m"],
    shift: Float[Array, " m"],
    gram: Float[Array, "m m"],
    scale: Scalar,
    offset: Scalar,
    eta: Scalar,
    tolerance: Scalar,
) -> tuple[Float[Array, " m"], Int[Array, ""]]:
    r"""Newton's method on $\log q + c - \log g(R(b + \eta K q)) = 0$.

    Three things make it safe at any scale. Adding a constant to $K$ changes only the
    multiplier $c$, since $\sum \mathrm dq = 0$: it lifts the direction $q$, which $K$
    loses as the flow converges, and a Cholesky factor serves. Each weight moves not by
    its Newton step but to where $\log q_i + A_i q_i$ takes its predicted value
    ($A_i = \eta R s_i K_{ii}$): an exponential law where the weight is small, a linear
    one where it is large, both solved by the Wright omega function. And the error is
    measured in the motion of the stage, $\eta (\mathrm dq^\top K \mathrm dq)^{1/2}$, so
    that weights which degenerate constraints leave undetermined do not count.

    Args:
        flow: Gives $\log g$ and its slopes.
        dual: `"simplex"` ($\sum q = 1$), `"positive"` ($-c$ = `offset`) or `"free"`.
        weights: The guess; positive unless `dual` is `"free"`.
        shift: The vector $b$.
        gram: The matrix $K$, positive semi-definite.
        scale: The scale $R$ of the margins.
        offset: $-c$, where it is given.
        eta: The length of the stage.
        tolerance: The error at which to stop.

    Returns:
        The weights, and the number of iterations.
    """
    m = weights.shape[0]
    if dual == "free":
        # q = -e^c (b + eta K q)
        strength = jnp.exp(offset)
        matrix = np.eye(m) + strength * eta * gram
        return solve_positive(matrix, -strength * shift[:, None])[:, 0], jnp.asarray(1)
    diagonal = jnp.sum(gram * np.eye(m), axis=0)
    lift = jnp.sum(diagonal) / m + 1e-300
    lifted = gram + lift if dual == "simplex" else gram
    diagonal = jnp.maximum(diagonal, 1e-12 * lift)
    rate = eta * scale

    def step(carry):
        q, image, count, _ = carry
        margins = scale * (shift + eta * image)
        residual = jnp.log(q) - flow.log_weights(margins)
        if dual == "simplex":
            residual = residual - jnp.dot(q, residual)
        else:
            residual = residual - offset
        slopes, shares = flow.loss.weight_slopes(margins.reshape(-1, flow.rivals))
        decay = jnp.maximum(jnp.ravel(slopes), 1e-20)
        right = q[:, None] * jnp.stack([residual, jnp.ones(m)], axis=1)
        solved = solve_newton(rate, lifted, q, decay, shares, right)
        if dual == "simplex":
            change, per_multiplier = jnp.sum(solved, axis=0)
            multiplier = -(1 - jnp.sum(q) + change) / per_multiplier
            dq = -(solved[:, 0] + multiplier * solved[:, 1])
        else:
            dq = -solved[:, 0]

        stiffness = jnp.maximum(rate * decay * diagonal, FLOOR)
        target = jnp.log(q) + dq / q + stiffness * (q + dq)
        product = wright_omega(target + jnp.log(stiffness))
        new = jnp.where(product > 1, product / stiffness, jnp.exp(target - product))
        if dual == "simplex":
            new = new / jnp.sum(new)
        new = jnp.maximum(new, FLOOR)
        motions = jnp.stack([new - q, dq])
        images = motions @ gram
        moved = jnp.sum(jnp.sqrt(jnp.maximum(jnp.sum(motions * images, axis=1), 0.0)))
        return new, image + images[0], count + 1, eta * moved

    def unfinished(carry) -> Bool[Array, ""]:
        *_, count, error = carry
        return (count < MAX_ITERATIONS) & ~(error <= tolerance)

    weights = jnp.maximum(weights, FLOOR)
    start = (weights, gram @ weights, jnp.zeros((), int), jnp.full((), jnp.inf))
    q, _, count, _ = jax.lax.while_loop(unfinished, step, start)
    return q, count


def wright_omega(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""The solution $p > 0$ of $p + \log p = x$, to rounding, for every real $x$."""
    low = jnp.exp(jnp.minimum(x, 1.0))
    guess = jnp.where(x > 1, x - jnp.log(jnp.maximum(x, 1.0)), low / (1 + 0.7 * low))

    def halley(_, p):
        u = (x - p - jnp.log(p)) / (1 + p)
        return jnp.maximum(p * (1 + u / (1 - u / (2 * (1 + p)))), 1e-300)

    return jax.lax.fori_loop(0, 3, halley, jnp.maximum(guess, 1e-300))
