r"""Flows whose solution is known, as functions of the radius, the margin or the time.

Losses are sums over samples, so that of one sample is the loss itself. A flow of the
mean over $n$ equal samples is the same curve, at $n$ times the time.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import ArrayLike, Float64

from .._checks import checked_array


REACH = 60.0  # all but e^-60 of the integral of e^s lies so near its end
PANELS = 64


class TwoWeights(NamedTuple):
    r"""Where a product of two weights is; see `two_weights`.

    Attributes:
        angle: $\varphi$, in radians.
        margin: The normalized margin, $\frac12 \sin 2\varphi$.
        alignment: The cosine between the weights and the negative gradient,
            $\sin 2\varphi$.
        turning: $|\mathrm d\theta / \mathrm d \log r| = |\cot 2\varphi|$.
        path_length: Of the direction, since the start.
    """

    angle: Float64[np.ndarray, "*shape"]
    margin: Float64[np.ndarray, "*shape"]
    alignment: Float64[np.ndarray, "*shape"]
    turning: Float64[np.ndarray, "*shape"]
    path_length: Float64[np.ndarray, "*shape"]


def two_weights(angle: float, log_growth: ArrayLike) -> TwoWeights:
    r"""$f = w_1 w_2$ on one sample, $w = r (\cos\varphi, \sin\varphi)$, any tail.

    $w_1^2 - w_2^2$ is conserved: $\cos 2\varphi = (r_0 / r)^2 \cos 2\varphi_0$. The
    direction tends to $\pi/4$, and its whole path is $|\pi/4 - \varphi_0|$ long.

    Args:
        angle: $\varphi_0$ at the start, between 0 and $\pi/2$, without them: the margin
            is positive and the radius grows.
        log_growth: $\log (r / r_0) \geq 0$, any shape.

    Returns:
        The direction there, and what depends on it.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `two_weights(0.3, trajectory.log_radius - trajectory.log_radius[0]).angle`
    """
    if not 0 < angle < np.pi / 2:
        raise ValueError(f"`angle` must lie in (0, pi/2), but is {angle}.")
    grown = checked_array(log_growth, "log_growth")
    if np.any(grown < 0):
        raise ValueError(f"`log_growth` must not be negative, but is {np.min(grown)}.")
    # By the distance from the diagonal, so that nothing cancels near it.
    sine = np.sin(2 * (np.pi / 4 - angle)) * np.exp(-2 * grown)
    tilt = np.arcsin(sine) / 2
    cosine = np.sqrt((1 - sine) * (1 + sine))
    return TwoWeights(
        angle=np.pi / 4 - tilt,
        margin=cosine / 2,
        alignment=cosine,
        turning=np.abs(sine) / cosine,
        path_length=np.abs((np.pi / 4 - angle) - tilt),
    )


def one_sample_margin(
    start: float, length: float, log_t: ArrayLike
) -> Float64[np.ndarray, "*shape"]:
    r"""$f = \langle w, x \rangle$ on one sample, exponential loss.

    $$z(t) = \log (e^{z_0} + |x|^2 t)$$

    Args:
        start: $z_0$.
        length: $|x|$, positive.
        log_t: $\log t$, any shape; `-inf` is the start.

    Returns:
        The margin, however late.

    Raises:
        ValueError: If `length` is not positive.

    Example:
        `one_sample_margin(0.0, 1.0, 1e9)` is 1e9.
    """
    if not length > 0:
        raise ValueError(f"`length` must be positive, but is {length}.")
    return np.logaddexp(start, 2 * np.log(length) + np.asarray(log_t, dtype=float))


def balanced_product_log_time(
    degree: int, start: float, margin: ArrayLike
) -> Float64[np.ndarray, "*shape"]:
    r"""When a balanced product of $L$ weights reaches a margin, exponential loss.

    $f = w_1 \cdots w_L$ on one sample with $w_1 = \dots = w_L > 0$:

    $$\dot\alpha = L \alpha^{2 - 2/L} e^{-\alpha}, \qquad
      L t = \int_{\alpha_0}^{\alpha} s^{2/L - 2} e^s \, \mathrm d s,$$

    for $L = 2$ the exponential integral, $2 t = \mathrm{Ei}(\alpha) -
    \mathrm{Ei}(\alpha_0)$. The normalized margin is $L^{-L/2}$ throughout. Integrated
    by Gauss and Legendre's rule, $e^\alpha$ taken out.

    Args:
        degree: $L \geq 1$.
        start: $\alpha_0 > 0$.
        margin: $\alpha > \alpha_0$, any shape, however large.

    Returns:
        $\log t$, right to about 1e-14.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `balanced_product_log_time(2, 0.01, 1e6)`
    """
    margins = checked_array(margin, "margin")
    if degree < 1 or not start > 0 or np.any(margins <= start):
        raise ValueError(
            "`balanced_product_log_time` needs `degree` >= 1 and `margin` > `start` > "
            f"0, but got {degree}, {np.min(margins)} and {start}."
        )
    power = 2 / degree - 2
    nodes, weights = np.polynomial.legendre.leggauss(20)
    # Panels are even in s + log s: the power is steep at the start, e^s at the end.
    low = np.maximum(start, margins - REACH)[..., None]
    steps = np.linspace(0, 1, PANELS + 1)
    total = margins[..., None] - low + np.log(margins[..., None] / low)
    edges = from_linear_log(low + np.log(low) + steps * total)
    edges[..., 0], edges[..., -1] = low[..., 0], margins
    half = np.diff(edges)[..., None] / 2
    s = edges[..., :-1, None] + half * (nodes + 1)
    values = np.exp(s - margins[..., None, None] + power * np.log(s))
    whole = np.sum(half * weights * values, axis=(-2, -1))
    return margins + np.log(whole) - np.log(degree)


def from_linear_log(value):
    """The s > 0 with s + log s = value: Wright's omega."""
    return np.real(scipy.special.wrightomega(value))


def two_singular_values(
    scale: float, log_t: ArrayLike
) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
    r"""Square loss of two decoupled modes, from weights near zero.

    $\mathcal L = (w_1^2 - 4)^2 + (w_2^2 - 1)^2$ from $w(0) = \delta (1, 1) / \sqrt 2$:

    $$w_1 = \frac{2 \delta}{\sqrt{\delta^2 + (8 - \delta^2) e^{-32 t}}}, \qquad
      w_2 = \frac{\delta}{\sqrt{\delta^2 + (2 - \delta^2) e^{-8 t}}}$$

    Args:
        scale: $\delta$, positive; however small.
        log_t: $\log t$, any shape; `-inf` is the start.

    Returns:
        $w_1$ and $w_2$.

    Raises:
        ValueError: If `scale` is not positive.

    Example:
        `two_singular_values(1e-12, np.log(2.0))`

    References:
        Kumar and Haupt (2025), "... Beyond the Origin", JMLR 26.
    """
    if not scale > 0:
        raise ValueError(f"`scale` must be positive, but is {scale}.")
    time = np.exp(np.asarray(log_t, dtype=float))
    return square_mode(4.0, scale, time), square_mode(1.0, scale, time)


def square_mode(target, scale, time):
    r"""The solution of $\dot w = 4 w (s - w^2)$ from $\delta / \sqrt 2$."""
    # w^2 / (s - w^2) grows like exp(8 s t): all in logarithms, so that 1e-300 is kept.
    ratio = 2 * np.log(scale) - np.log(2 * target)
    rest = np.log1p(-np.exp(ratio)) if ratio < 0 else None
    if rest is None:  # from above
        start = scale**2 / 2
        decay = (1 - target / start) * np.exp(-8 * target * time)
        return np.sqrt(target / (1 - decay))
    return np.sqrt(target) * np.exp(
        -np.logaddexp(0.0, rest - ratio - 8 * target * time) / 2
    )
