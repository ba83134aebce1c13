"""The contract of a norm, checked."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._checks import require_x64
from ..norms import AbstractNorm
from ..norms._abstract import tangents
from ._differences import nearest, one_sided
from ._report import require, require_close


VECTORS = 12
"""How many vectors of weights are tried."""

FACTORS = (-3.0, 1e-6, 1e6)
"""A norm is tried at these multiples of them."""

EXACT, NEAR = 1e-12, 1e-9
"""How far a value may be off, against its size; and a motion, whose norm is rounded."""

BESIDE = 1e-3, 0.1, 1.0
"""Other motions are tried so far from the steepest, against its size."""


def check_norm(norm: AbstractNorm, weights: int = 20) -> None:
    r"""Check that a norm keeps the contract of `gflow.norms.AbstractNorm`.

    1. $\|w\|$ is a float64 scalar, positive but at zero, the same under `jit`, and
       $\|c w\| = |c| \|w\|$.
    2. It is convex: $\|a + b\| \leq \|a\| + \|b\|$.
    3. $\langle v, D(v)\rangle = \|D(v)\|^2$, and $D(c v) = c D(v)$.
    4. No other motion $u$ has a larger $\langle v, u\rangle - \tfrac12 \|u\|^2$.
    5. The derivative of $D$, by JAX or as an `AbstractSlopedNorm` states it, is that
       of differences.

    Vectors are drawn at random, some with entries of many sizes, one with zeros among
    them. Derivatives must agree with differences to 1e-5, from one side at least.

    Args:
        norm: An instance of a norm.
        weights: Of how many weights to try it.

    Raises:
        AssertionError: If a law is broken; it says which, where, and by how much.
        ValueError: If `norm` is no `gflow.norms.AbstractNorm`, or 64-bit mode is off.

    Example:
        `gflow.testing.check_norm(PNorm(1.5))`
    """
    require_x64()
    if not isinstance(norm, AbstractNorm):
        raise ValueError(
            f"`norm` must be a `gflow.norms.AbstractNorm`, but is {norm!r}. "
            "(A class? Call it to make an instance.)"
        )
    name, vectors = type(norm).__name__, _vectors(weights)
    _check_values(norm, name, vectors)
    _check_motion(norm, name, vectors)
    _check_tangents(norm, name, vectors)


def _vectors(weights: int) -> Float[np.ndarray, "vectors weights"]:
    """Vectors at random, of entries alike, of many sizes, and some of them zero."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(VECTORS, weights))
    vectors[1::3] *= 10.0 ** random.uniform(-2, 2, size=vectors[1::3].shape)
    vectors[2, ::3] = 0.0
    return vectors


def _check_values(norm: AbstractNorm, name: str, vectors) -> None:
    law = f"`{name}` must map vectors to a float64 scalar"
    first = norm(vectors[0])
    fits = np.shape(first) == () and np.asarray(first).dtype == np.float64
    require(fits, law, f"maps one to {np.asarray(first).dtype}{np.shape(first)}")
    sizes = np.asarray([norm(v) for v in vectors])
    law = f"`{name}` must be positive but at zero"
    require(np.all(sizes > 0), law, f"is {np.min(sizes):g} at some vector")
    require(norm(0 * vectors[0]) == 0, law, f"is {norm(0 * vectors[0]):g} there")
    law = f"`{name}` must be the same under jit"
    jitted = jax.jit(lambda some: jax.lax.map(norm, some))(vectors)
    require_close(jitted, sizes, EXACT * sizes, law, _at)
    for factor in FACTORS:
        law = f"`{name}` must be {abs(factor):g} times as large at {factor:g} times"
        found = np.asarray([norm(factor * v) for v in vectors])
        expected = abs(factor) * sizes
        require_close(found, expected, EXACT * expected, law, _at)
    sums = np.asarray(
        [norm(v + w) for v, w in zip(vectors, vectors[::-1], strict=True)]
    )
    excess = np.max(sums - (1 + EXACT) * (sizes + sizes[::-1]))
    law = f"`{name}` of a sum must be at most the sum of both"
    require(excess <= 0, law, f"is larger by {excess:.2g} for some pair")


def _check_motion(norm: AbstractNorm, name: str, vectors) -> None:
    motions = np.asarray([norm.direction(v) for v in vectors])
    squares = np.asarray([norm(d) for d in motions]) ** 2
    law = f"`{name}.direction` D(v) must have <v, D(v)> = |D(v)|^2"
    found = np.sum(vectors * motions, axis=1)
    require_close(found, squares, NEAR * squares, law, _at)
    for factor in FACTORS:
        law = f"`{name}.direction` must be {factor:g} times as much at {factor:g} times"
        again = np.asarray([norm.direction(factor * v) for v in vectors])
        room = NEAR * abs(factor) * np.max(np.abs(motions), axis=1, keepdims=True)
        require_close(again, factor * motions, room, law, _at)
    random = np.random.default_rng(1)
    law = f"`{name}.direction` must be the steepest motion"
    for share in BESIDE:
        beside = random.normal(size=motions.shape) * np.abs(motions).max(1)[:, None]
        others = motions + share * beside
        values = np.sum(vectors * others, axis=1)
        values = values - np.asarray([norm(u) for u in others]) ** 2 / 2
        excess = np.max(values - squares / 2 * (1 + NEAR))
        require(excess <= 0, law, f"is less steep than another by {excess:.2g}")


def _check_tangents(norm: AbstractNorm, name: str, vectors) -> None:
    # Not where entries vanish: there differences of |v|^r are not yet its slope.
    vectors = vectors[0::3]
    law = f"The derivative of `{name}.direction` must be that of differences"
    rows = jnp.eye(vectors.shape[1])
    slopes = np.asarray([tangents(norm, v, rows) for v in jnp.asarray(vectors)])

    def motions(points):
        return np.asarray([norm.direction(v) for v in points])

    for axis in range(vectors.shape[1]):
        expected = slopes[:, axis]
        found, room = nearest(expected, one_sided(motions, vectors, axis))
        # Entries of a row are known against the largest of them.
        room = room + 1e-5 * np.max(np.abs(expected), axis=1, keepdims=True)
        require_close(expected, found, room, law, _at)


def _at(at: tuple[int, ...]) -> str:
    return f"for vector {at[0]}"
