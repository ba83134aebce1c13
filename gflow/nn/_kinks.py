r"""Kinks, smoothed so that a homogeneous network stays one.

Every kink is the larger of some branches $b_1, \dots, b_k$, smoothed over a width:

$$\operatorname{smax}(b, \omega) = \omega \log \sum_i e^{b_i / \omega}, \qquad
  \max_i b_i \leq \operatorname{smax}(b, \omega) \leq \max_i b_i + \omega \log k$$

Homogeneous of degree 1 in $(b, \omega)$. The width is $\omega$ = `eps` x `scale`, and
`scale` is a number that grows with the weights as the branches do: $r$ in the first
layer, $r^2$ in the second, with $r$ = `gflow.nn.radius(network)`. On the unit sphere
the width is `eps`. With `eps` = 0 the kink is exact and its derivative at a tie is
that of the first branch.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from ._tape import TAPE
from ._width import EPS


Number = Scalar | float | int
Real = Float[Array, "*shape"]


def relu(u: Real, scale: Number = 1.0, eps: Number = EPS) -> Real:
    r"""A smoothed ReLU, $\omega \log(1 + e^{u/\omega})$ with $\omega$ = `eps` `scale`.

    Above $\max(0, u)$, by $\omega \log 2$ at $u = 0$ and less elsewhere;
    `relu(c * u, c * scale)` is `c * relu(u, scale)` for $c > 0$.

    Args:
        u: Where; any shape.
        scale: A number that grows with the weights as `u` does; 1 if they do not
            matter. In layer $k$ of a network of degree one a layer, $r^k$ with $r$ =
            `gflow.nn.radius(network)`.
        eps: The width on the unit sphere; 0 for the exact ReLU, of slope 0 at 0.

    Returns:
        An array shaped as `u`.

    Raises:
        ValueError: If `u` holds no floats, or `eps` is a negative number.

    Example:
        `gflow.nn.relu(self.weight @ x, gflow.nn.radius(self), self.eps.value)`
    """
    u = _floats(u, "u")
    return larger((jnp.zeros_like(u), u), scale, eps)


def leaky_relu(
    u: Real, leak: float = 0.01, scale: Number = 1.0, eps: Number = EPS
) -> Real:
    r"""A smoothed leaky ReLU: $u$ for $u > 0$ and $a u$ for $u < 0$, with $a$ = `leak`.

    For $a \leq 1$ the smoothed $\max(a u, u)$; for $a > 1$ the smoothed
    $\min(a u, u)$, from below. For $a = 1$ it is $u$, with no kink.

    Args:
        u: Where; any shape.
        leak: The slope $a$ on the left; any finite Python number.
        scale: As in `gflow.nn.relu`.
        eps: As in `gflow.nn.relu`; the exact slope at 0 is $a$.

    Returns:
        An array shaped as `u`.

    Raises:
        ValueError: If `u` holds no floats, `leak` is no finite Python number, or `eps`
            is a negative number.

    Example:
        `gflow.nn.leaky_relu(u, 0.1, radius)`
    """
    u = _floats(u, "u")
    if not (isinstance(leak, float | int) and math.isfinite(leak)):
        raise ValueError(
            f"`leak` must be a finite Python number, but is {leak!r}. Whether the kink "
            "is a maximum or a minimum hangs on it."
        )
    if leak == 1:
        return u
    if leak > 1:
        return -larger((-leak * u, -u), scale, eps)
    return larger((leak * u, u), scale, eps)


def absolute(u: Real, scale: Number = 1.0, eps: Number = EPS) -> Real:
    r"""A smoothed absolute value, the smoothed maximum of $-u$ and $u$.

    Above $|u|$, by $\omega \log 2$ at $u = 0$ and less elsewhere.

    Args:
        u: Where; any shape.
        scale: As in `gflow.nn.relu`.
        eps: As in `gflow.nn.relu`; the exact slope at 0 is -1.

    Returns:
        An array shaped as `u`.

    Raises:
        ValueError: If `u` holds no floats, or `eps` is a negative number.

    Example:
        `gflow.nn.absolute(u, radius)`
    """
    u = _floats(u, "u")
    return larger((-u, u), scale, eps)


def maximum(
    branches: Real, scale: Number = 1.0, eps: Number = EPS, axis: int = -1
) -> Float[Array, "*fewer"]:
    r"""A smoothed maximum along one axis, $\omega \log \sum_i e^{b_i / \omega}$.

    Above $\max_i b_i$ by at most $\omega \log k$, for $k$ branches.

    Args:
        branches: At least one along `axis`; finite.
        scale: As in `gflow.nn.relu`.
        eps: As in `gflow.nn.relu`; at a tie the exact derivative is that of the first
            of the largest.
        axis: Along which the branches stand; it disappears.

    Returns:
        An array of one axis less.

    Raises:
        ValueError: If `branches` holds no floats, has no such axis or none along it,
            or `eps` is a negative number.

    Example:
        `gflow.nn.maximum(jnp.stack([u, v]), radius, axis=0)`
    """
    branches = _floats(branches, "branches")
    if not -branches.ndim <= axis < branches.ndim or branches.shape[axis] == 0:
        raise ValueError(
            "`branches` must have at least one branch along `axis`, but has shape "
            f"{branches.shape} and `axis` is {axis}."
        )
    branches = jnp.moveaxis(branches, axis, 0)
    return branches[0] if len(branches) == 1 else larger(branches, scale, eps)


def larger(
    branches: tuple[Real, Real] | Float[Array, "branches *shape"],
    scale: Number,
    eps: Number,
) -> Real:
    """The smoothed maximum of branches that run along the first axis: two or more."""
    if isinstance(eps, float | int) and not 0 <= eps < math.inf:
        raise ValueError(
            f"`eps` must be finite and at least 0, but is {eps!r}. "
            "For the exact kink, pass 0."
        )
    if (tape := TAPE.get()) is not None:
        output = tape.play(jnp.stack(branches, axis=-1), scale, eps)
        if output is not None:
            return output
    width = jnp.asarray(eps * scale, branches[0].dtype)
    while isinstance(branches, jax.Array) and len(branches) > 2:
        # Pairs of neighbors, so that the first of the largest wins a tie.
        even = len(branches) // 2 * 2
        joined = smooth_maximum(branches[0:even:2], branches[1:even:2], width)
        branches = jnp.concatenate([joined, branches[even:]])
    first, second = branches
    return smooth_maximum(first, second, width)


@jax.custom_jvp
def smooth_maximum(first: Real, second: Real, width: Scalar) -> Real:
    """The smoothed maximum of two branches; that of more is made of pairs exactly."""
    _, bump, _ = _gate(first, second, width)
    return jnp.where(second > first, second, first) + width * bump


@smooth_maximum.defjvp
def _smooth_maximum_jvp(primals, tangents):
    # By parts: no number is formed that a later one must cancel, whatever the width.
    first, second, width = primals
    d_first, d_second, d_width = tangents
    gate, bump, size = _gate(first, second, width)
    above = second > first
    left, right = jnp.where(above, gate, 1 - gate), jnp.where(above, 1 - gate, gate)
    entropy = bump + size * gate
    slope = left * d_first + right * d_second + entropy * d_width
    return smooth_maximum(first, second, width), slope


def _gate(first: Real, second: Real, width: Scalar) -> tuple[Real, Real, Real]:
    """The gate of the smaller branch, log(1 + e^-v), and v >= 0, the gap in widths."""
    smooth = width > 0
    signed = _ratio(second - first, jnp.where(smooth, width, 1.0))
    # Not `abs`, whose second derivative at a tie would be lost.
    size = jnp.where(second > first, signed, -signed)
    smaller = jnp.where(smooth, jnp.exp(-size), 0.0)
    return smaller / (1 + smaller), jnp.log1p(smaller), size


@jax.custom_jvp
def _ratio(gap: Real, width: Scalar) -> Real:
    return gap / width


@_ratio.defjvp
def _ratio_jvp(primals, tangents):
    # JAX's own rule squares the width, which underflows for weights of 1e-80.
    (gap, width), (d_gap, d_width) = primals, tangents
    ratio = _ratio(gap, width)
    return ratio, (d_gap - ratio * d_width) / width


def _floats(u: Real, name: str) -> Real:
    u = jnp.asarray(u)
    if not jnp.issubdtype(u.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must hold floats, but has {u.dtype}. Pass `{name} * 1.0`."
        )
    return u
