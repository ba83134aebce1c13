r"""The degree $L$ of a network, found from its values and its derivative.

A network is positively homogeneous if $f(x; c\,w) = c^L f(x; w)$ for all $c > 0$.
Then $\langle w, \partial_w f \rangle = L f$ (Euler). The first law gives $L$; both are
tested at random weights and over a wide range of $c$.
"""

import functools
import math
from collections.abc import Callable
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from . import _tree
from ._checks import checked_array, require_x64
from ._compile import compiled
from ._plain import checked_weights, norm, require_plain, times
from ._types import Scalar
from .nn._homogeneous import AbstractHomogeneous


# Both laws hold to rounding, about 1e-13, or fail by far more.
TOLERANCE = 1e-9
# Inputs looked at, evenly spread; and weights, beside the network's own.
SAMPLES, RANDOM_WEIGHTS = 16, 4
# Radii to work at: the next where outputs overflow, underflow or are all zero.
RADII = (1.0, 2.0**-4, 2.0**4, 2.0**-12, 2.0**12, 2.0**-40, 2.0**40)
# Outputs between these leave room for a factor c^L, which stays below 2^200.
SMALLEST, LARGEST = 1e-200, 1e200
LARGEST_DENOMINATOR = 1000
# Outputs this small against those at random weights are rounding; and how near weights
# are that stand in.
CANCELED, NEARBY = 1e-9, 0.1


class NotHomogeneousError(ValueError):
    """The network is not positively homogeneous in its weights."""


def degree(network: PyTree, x: ArrayLike, *, seed: int = 0) -> float:
    r"""The degree $L > 0$ with $f(x; c\,w) = c^L f(x; w)$ for all $c > 0$.

    The weights $w$ are all inexact arrays of the network. The law is tested, not
    proved: to 1e-9, on at most 16 samples, at the network's own weights (rescaled) and
    at random ones, over a factor $c$ of up to 1024 either way. Where $f$ is zero at its
    own weights, or only rounding ($u^2 - v^2$ at $u = v$, neurons in pairs of opposite
    sign), weights near them stand in. `gflow.nn`'s networks know their degree.

    Args:
        network: Any `eqx.Module` (or other PyTree with `__call__`) that maps one input
            to a scalar or to logits.
        x: Inputs, one sample per row; any shape of features.
        seed: For the random weights.

    Returns:
        The degree: exact if a fraction of denominator at most 1000, else to about
        1e-13.

    Raises:
        ValueError: If the network is not homogeneous, or its degree is not positive;
            if its output is NaN, zero on every sample, or neither a scalar nor logits;
            if its weights are missing, all zero, not finite or not float64; if `x` is
            not of shape (samples, features), or 64-bit mode is off.

    Example:
        `gflow.degree(gflow.nn.MLP(2, (8,), power=2, key=key), x)` is 3.0.
    """
    require_x64()
    x = checked_array(x, "x")
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(
            "`x` must have shape (samples, features), samples >= 1, but has shape "
            f"{x.shape}. For one input, pass `x[None]`."
        )
    if not callable(network):
        raise ValueError(f"`network` must be callable, but is {network!r}.")
    require_plain(network)
    picked = np.unique(np.linspace(0, len(x) - 1, SAMPLES).round().astype(int))
    weights, still = _tree.partition(network)
    weights = checked_weights(weights)
    probe = functools.partial(_probe, still, x[picked])

    points, values = _sound_points(probe, weights, np.random.default_rng(seed))
    if isinstance(network, AbstractHomogeneous):
        return float(network.degree)
    found = _growth(_sizes(values), _sizes(probe(points, 2.0)[0]))
    # Wide enough to see a clip or an epsilon; no overflow at degree 100.
    span = 2.0 ** min(10.0, 200 / max(abs(found), 1.0))
    for c in (span, 1 / span, 1.0):
        scaled, quotients = probe(points, c)
        _require_scaling(found, c, values, scaled, picked)
        _require_euler(found, c, scaled, quotients)
    if found < TOLERANCE:
        raise NotHomogeneousError(
            f"`network` must have a positive degree, but has degree {found:.6g}: its "
            "output does not grow with its weights. Put no normalization last."
        )
    near = Fraction(found).limit_denominator(LARGEST_DENOMINATOR)
    return float(near) if abs(near - found) < TOLERANCE else found


def _probe(
    still: PyTree, x: np.ndarray, points: list[PyTree], c: float
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (points, samples, logits) and Euler's quotients (points,) at `c` w."""
    try:
        pairs = [
            compiled(_outputs_and_quotient)(times(c, point), still, x)
            for point in points
        ]
    except TypeError as error:  # JAX's own, of shapes and of values not yet known
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"`network` must map one input of shape {x.shape[1:]}, a row of `x`, by "
            f"functions of JAX, but fails: {reason} Has it as many inputs as `x` has "
            "features? For an `if` on values, use `jnp.where`."
        ) from error
    outputs, quotients = zip(*pairs, strict=True)
    return np.stack(outputs), np.stack(quotients)


def _outputs_and_quotient(
    weights: PyTree, still: PyTree, x: Float[Array | np.ndarray, "samples *features"]
) -> tuple[Float[Array, "samples logits"], Scalar]:
    r"""The outputs $f$, and $\langle f, \partial_w f \cdot w \rangle / |f|^2$.

    By Euler the quotient is $L$; it is 0 where $f$ is. One pullback gives it, also for
    networks whose derivative is a `jax.custom_vjp`.
    """

    def outputs_of(weights):
        outputs = jax.vmap(eqx.combine(weights, still))(x)
        _require_outputs(outputs, x)
        return outputs.reshape(x.shape[0], -1)

    outputs, pullback = jax.vjp(outputs_of, weights)
    largest = jnp.max(jnp.abs(outputs))
    cotangent = outputs / jnp.where(largest > 0, largest, 1.0)
    (slope,) = pullback(cotangent)
    square = jnp.sum(cotangent * outputs)
    return outputs, _tree.dot(weights, slope) / jnp.where(square > 0, square, 1.0)


def _sound_points(
    probe: Callable, weights: PyTree, generator: np.random.Generator
) -> tuple[list[PyTree], np.ndarray]:
    """The network's own weights and random ones, at a radius where outputs are sound.

    Random entries have variance 1 / in, whatever the network holds: biases that start
    at zero must not pass unseen.
    """

    def draw(leaf):
        inputs = max(1, math.prod(leaf.shape[1:] or leaf.shape))
        return generator.standard_normal(leaf.shape) / math.sqrt(inputs)

    seen = []
    for radius in RADII:
        drawn = [jax.tree.map(draw, weights) for _ in range(RANDOM_WEIGHTS)]
        own = times(norm(drawn[0]), weights)
        near = jax.tree.map(lambda a, b: a + NEARBY * b, own, drawn[-1])
        points = [times(radius, point) for point in (own, near, *drawn)]
        values, _ = probe(points, 1.0)
        sizes = _sizes(values)
        # Terms that cancel at its own weights leave rounding, which scales as it likes.
        nought = sizes[0] <= CANCELED * np.max(sizes[1:])
        points, values = (a[1:] if nought else [a[0], *a[2:]] for a in (points, values))
        values, sizes = np.stack(list(values)), _sizes(np.stack(list(values)))
        sound = (sizes > SMALLEST) & (sizes < LARGEST)
        if np.any(sound) and np.all(sound | (sizes == 0)):
            return points, values
        seen.append(values)
    if not np.any(seen):
        raise ValueError(
            "`network` must not be zero on every sample, but is, at its own and at "
            "random weights. Is `x` zero, or a layer cut off?"
        )
    sizes = _sizes(seen[0])
    point = np.argmin((sizes > SMALLEST) & (sizes < LARGEST))
    raise ValueError(
        "`network` must have finite outputs at weights of moderate size, but its "
        f"largest is {sizes[point]:.3g} at {_kind(point)} weights. Look for a division "
        "by zero or a logarithm."
    )


def _growth(sizes: np.ndarray, doubled: np.ndarray) -> float:
    """The exponent of growth when the weights double; 0 if there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponents = np.log2(doubled / sizes)
    exponents = exponents[np.isfinite(exponents)]
    return float(np.median(exponents)) if exponents.size else 0.0


def _require_scaling(
    found: float, c: float, values: np.ndarray, scaled: np.ndarray, picked: np.ndarray
) -> None:
    """Refuse a network whose outputs at `c` w are not `c`^L times those at w."""
    expected = c**found * values
    # Relative to the largest output of one network: single ones may be zero.
    unit = np.maximum(_sizes(expected), _sizes(scaled))
    with np.errstate(invalid="ignore"):
        misfit = (
            np.abs(scaled - expected).max(axis=2) / np.where(unit > 0, unit, 1)[:, None]
        )
    misfit = np.where(np.isnan(misfit), np.inf, misfit)
    point, sample = np.unravel_index(np.argmax(misfit), misfit.shape)
    if misfit[point, sample] > TOLERANCE:
        raise NotHomogeneousError(
            "`network` must be positively homogeneous in its weights, f(x; c w) = "
            f"c^L f(x; w), but is not: the best degree, {found:.6g}, misses the output "
            f"at c = {c:.4g} by {misfit[point, sample]:.1e} of its size (sample "
            f"{picked[sample]}, {_kind(point)} weights). Remove biases and added "
            "constants, and use ReLU or its powers: softplus, GELU and tanh are not "
            "homogeneous."
        )


def _require_euler(
    found: float, c: float, scaled: np.ndarray, quotients: np.ndarray
) -> None:
    """Refuse a network whose derivative belongs to another degree than its outputs."""
    misfit = np.where(_sizes(scaled) > 0, np.abs(quotients - found), 0.0)
    worst = np.argmax(misfit)
    if not misfit[worst] <= TOLERANCE * max(abs(found), 1.0):
        raise NotHomogeneousError(
            "`network` must obey Euler's identity <w, df/dw> = L f, but scales with "
            f"degree L = {found:.6g} while <w, df/dw> = {quotients[worst]:.6g} f at "
            f"c = {c:.4g}. Look for `stop_gradient` (every inexact array is a weight), "
            "rounding, a custom derivative, or 0/0 in a derivative."
        )


def _require_outputs(
    outputs: PyTree, x: Float[Array | np.ndarray, "samples *features"]
) -> None:
    shapes = jax.tree.map(
        lambda array: f"{array.dtype}{list(array.shape[1:])}", outputs
    )
    one_array = isinstance(outputs, jax.Array) and outputs.ndim in (1, 2)
    if not one_array or outputs.shape[1:] == (1,) or outputs.dtype != jnp.float64:
        raise ValueError(
            "`network` must map one input to a scalar or to two or more logits, in "
            f"float64, but maps shape {x.shape[1:]} to {shapes}. "
            "For a single output, return `output[0]`."
        )


def _kind(point: int | np.integer) -> str:
    return "its own" if point == 0 else "random"


def _sizes(values: np.ndarray) -> np.ndarray:
    """The largest output at each of several weights."""
    return np.max(np.abs(values), axis=(1, 2))
