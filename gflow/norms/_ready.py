r"""Norms of all weights of a network, made strictly convex, and their steepest motions.

The steepest direction of $\|\cdot\|_\infty$ or $\|\cdot\|_1$ is not unique, and the
flow slides along its jumps. A nearby norm has one that is Lipschitz, in closed form:

$$\|w\|_\delta^2 = \|w\|^2 + \delta\, |w|_2^2, \qquad
  D(v) = \arg\max_u\ \langle v, u\rangle - \tfrac12 \|u\|_\delta^2
       = \nabla\, \tfrac12 \|v\|_{\delta *}^2 .$$

$D$ is homogeneous of degree 1, with $\langle v, D(v)\rangle = \|D(v)\|_\delta^2 =
\|v\|_{\delta *}^2$. All that is proved of steepest flows holds for $\|\cdot\|_\delta$
exactly, which is a norm like another. With $\delta$ = `smoothing` / (the greatest
$|w|_2^2 / \|w\|^2$), whatever the number of weights,
$\|w\|^2 \leq \|w\|_\delta^2 \leq (1 + \mathrm{smoothing}) \|w\|^2$.

References:
    Moreau (1965), "Proximite et dualite dans un espace hilbertien": each map here is a
    proximal one. Daleckii and Krein (1965) for derivatives of spectral maps.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar
from ._abstract import AbstractNorm, AbstractSlopedNorm, Vector


Sizes = tuple[tuple[int, ...], ...]
"""The shapes of the arrays of weights, whose entries are one vector."""


class L2Norm(AbstractSlopedNorm):
    """The Euclidean norm, which needs no smoothing."""

    def __call__(self, vector):
        return jnp.sqrt(jnp.sum(vector**2))

    def direction(self, pull):
        return pull

    def tangents(self, pull, rows):
        del pull
        return rows


class LInfNorm(AbstractSlopedNorm):
    """The greatest entry."""

    delta: Scalar

    def __init__(self, smoothing: ArrayLike, sizes: Sizes):
        self.delta = jnp.asarray(smoothing) / sum(map(math.prod, sizes))

    def __call__(self, vector):
        return _joined(jnp.max(jnp.abs(vector)), self.delta, vector)

    def direction(self, pull):
        high = _water_level(jnp.abs(pull), self.delta)
        return jnp.clip(pull / self.delta, -high, high)

    def tangents(self, pull, rows):
        held = jnp.abs(pull) > self.delta * _water_level(jnp.abs(pull), self.delta)
        signs = jnp.where(held, jnp.sign(pull), 0.0)
        rises = rows @ signs / (1 + self.delta * jnp.sum(held))
        return jnp.where(held[None], jnp.outer(rises, signs), rows / self.delta)


class L1Norm(AbstractSlopedNorm):
    """The sum of absolute values."""

    delta: Scalar

    def __init__(self, smoothing: ArrayLike, sizes: Sizes):
        del sizes
        self.delta = jnp.asarray(smoothing)

    def __call__(self, vector):
        return _joined(jnp.sum(jnp.abs(vector)), self.delta, vector)

    def direction(self, pull):
        above = jnp.maximum(jnp.abs(pull) - self._level(pull), 0.0)
        return jnp.sign(pull) * above / self.delta

    def tangents(self, pull, rows):
        moving = jnp.abs(pull) > self._level(pull)
        signs = jnp.where(moving, jnp.sign(pull), 0.0)
        rises = rows @ signs / (self.delta + jnp.sum(moving))
        free = jnp.where(moving[None], rows, 0.0)
        return (free - jnp.outer(rises, signs)) / self.delta

    def _level(self, pull):
        return _water_level(jnp.abs(pull) / self.delta, 1 / self.delta)


class SpectralNorm(AbstractSlopedNorm):
    """The greatest singular value of all layers.

    A vector counts as a matrix of one row, and an array of more axes, such as the
    kernels of a convolution, as one of shape (first, all others).
    """

    delta: Scalar
    sizes: Sizes = eqx.field(static=True)

    def __init__(self, smoothing: ArrayLike, sizes: Sizes):
        self.sizes = sizes
        self.delta = jnp.asarray(smoothing) / sum(min(_matrix(s)) for s in sizes)

    def __call__(self, vector):
        tops = [jnp.max(_values(layer)) for layer in self._layers(vector)]
        return _joined(jnp.max(jnp.stack(tops)), self.delta, vector)

    def direction(self, pull):
        factors = [_svd(layer) for layer in self._layers(pull)]
        high = self._level(factors)
        parts = [
            (left * jnp.minimum(values / self.delta, high)[None]) @ right
            for left, values, right in factors
        ]
        return jnp.concatenate([jnp.ravel(part) for part in parts])

    def tangents(self, pull, rows):
        factors = [_svd(layer) for layer in self._layers(pull)]
        top = self.delta * self._level(factors)
        held = [values > top for _, values, _ in factors]
        count = sum(jnp.sum(each) for each in held)
        signs = [
            (left * each[None]) @ right
            for (left, _, right), each in zip(factors, held, strict=True)
        ]
        signs = jnp.concatenate([jnp.ravel(part) for part in signs])
        rises = rows @ signs / (1 + self.delta * count)

        def one(row):
            parts = [
                _clipped_tangent(factor, top, layer)
                for factor, layer in zip(factors, self._layers(row), strict=True)
            ]
            return jnp.concatenate([jnp.ravel(part) for part in parts])

        return jax.vmap(one)(rows) / self.delta + jnp.outer(rises, signs)

    def _layers(self, vector):
        ends = np.cumsum([math.prod(size) for size in self.sizes])[:-1]
        parts = jnp.split(vector, ends)
        pairs = zip(parts, self.sizes, strict=True)
        return [part.reshape(_matrix(size)) for part, size in pairs]

    def _level(self, factors):
        values = jnp.concatenate([values for _, values, _ in factors])
        return _water_level(values, self.delta)


NORMS: dict[str, Callable[[ArrayLike, Sizes], AbstractNorm]] = {
    "l2": lambda smoothing, sizes: L2Norm(),
    "linf": LInfNorm,
    "l1": L1Norm,
    "spectral": SpectralNorm,
}


def checked_norm(norm: str | AbstractNorm) -> str | AbstractNorm:
    """A norm or the name of one, or an error that lists them."""
    if isinstance(norm, AbstractNorm) or (isinstance(norm, str) and norm in NORMS):
        return norm
    raise ValueError(
        f"`norm` must be one of {tuple(NORMS)} or a `gflow.norms.AbstractNorm`, but is "
        f"{norm!r}."
    )


def norm_of(
    norm: str | AbstractNorm, sizes: Sizes, smoothing: ArrayLike = 0.0
) -> AbstractNorm:
    """The norm of a name, smoothed so much, for arrays of these shapes; or as it is."""
    given = checked_norm(norm)
    return NORMS[given](smoothing, sizes) if isinstance(given, str) else given


def _joined(norm: Scalar, delta: Scalar, vector: Vector) -> Scalar:
    return jnp.sqrt(norm**2 + delta * jnp.sum(vector**2))


def _water_level(sizes: Float[Array, " n"], delta: Scalar) -> Scalar:
    r"""The $\tau \geq 0$ with $\tau = \sum_j (a_j - \delta\tau)_+$.

    The largest of the values that it would have if the $k$ greatest counted.
    """
    counts = np.arange(1, sizes.size + 1)
    sums = jnp.cumsum(jnp.sort(sizes, descending=True))
    return jnp.max(sums / (1 + delta * counts))


def _matrix(size: tuple[int, ...]) -> tuple[int, int]:
    """The shape of the matrix that an array of weights counts as."""
    if len(size) < 2:
        return 1, math.prod(size)
    return size[0], math.prod(size[1:])


def _svd(matrix):
    left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
    return left, values, right


def _values(matrix):
    return jnp.linalg.svd(matrix, compute_uv=False)


def _clipped_tangent(factor, top, change):
    """The derivative of cutting singular values at a fixed `top`.

    By divided differences of the cut, which are safe where values coincide or vanish.
    """
    left, values, right = factor
    inner = left.T @ change @ right.T
    cut = jnp.minimum(values, top)
    high = jnp.maximum(values[:, None], values[None])
    low = jnp.minimum(values[:, None], values[None])
    apart = (high > top) & (low < top)
    gap = jnp.where(apart, high - low, 1.0)
    minus = jnp.where(apart, (top - low) / gap, jnp.where(high > top, 0.0, 1.0))
    total = high + low
    plus = (cut[:, None] + cut[None]) / jnp.where(total > 0, total, 1.0)
    plus = jnp.where(total > 0, plus, 1.0)
    core = minus * (inner + inner.T) / 2 + plus * (inner - inner.T) / 2
    ratio = jnp.where(values > top, top / jnp.where(values > 0, values, 1.0), 1.0)
    across = change @ right.T - left @ inner
    down = left.T @ change - inner @ right
    return (
        left @ (core @ right + ratio[:, None] * down) + (across * ratio[None]) @ right
    )
