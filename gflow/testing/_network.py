"""What gflow asks of a network, checked."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._checks import checked_array, require_concrete, require_x64
from .._degree import NotHomogeneousError, degree as find_degree
from .._plain import require_plain
from .._units import find_units
from ..nn import AbstractHomogeneous
from ._kinks import check_kinks
from ._points import Points
from ._report import require, require_all, require_close
from ._scaling import check_scaling


SAMPLES = 4
"""How many samples are looked at, evenly spread."""


def check_network(
    network: PyTree, x: ArrayLike, *, degree: float | None = None, seed: int = 0
) -> None:
    r"""Check that a network is what `gflow.solve` takes it for.

    At its own weights and at random ones, on at most four samples:

    1. Its output is finite, float64, a scalar or two or more logits; the same each
       time it is called, sample by sample, under `jax.vmap` and under `jax.jit`.
    2. Its derivative in the weights by JAX is that of differences.
    3. If it has a degree $L$: $f(x; c\,w) = c^L f(x; w)$ over factors of $2^{\pm 10}$,
       and Euler's identity $\langle w, \partial_w f\rangle = L f$, to 1e-9.
    4. Its kinks are seen: at frozen gates it is itself, with the derivative of
       differences, and a smooth function all along lines in the space of weights.
    5. Its method `units`, if it has one, fits its weights.

    Not seen are kinks that are no comparison, maximum or absolute value, as that of
    `jnp.sqrt(u**2)`; the largest one on some random lines is found.

    Args:
        network: Any `eqx.Module` (or other PyTree with `__call__`) that maps one input
            to a scalar or to logits; its inexact arrays (outside of `gflow.nn.Fixed`)
            are its weights.
        x: Inputs, one sample per row.
        degree: The degree that it should have. By default what a
            `gflow.nn.AbstractHomogeneous` states, else what `gflow.degree` finds;
            where that finds none, the laws of homogeneity do not apply.
        seed: For the random weights.

    Raises:
        AssertionError: If a law is broken; it says which, where, and by how much.
        ValueError: If `x` has no samples, the weights are no finite float64 arrays of
            JAX, or are all zero, or 64-bit mode is off.
        TypeError: Inside of `jit`, `vmap` or `grad`.

    Example:
        `gflow.testing.check_network(MyNetwork(key), x, degree=2.0)`
    """
    require_concrete((network, x), "gflow.testing.check_network")
    require_x64()
    x = checked_array(x, "x")
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(
            f"`x` must have shape (samples, features), but has {x.shape}. For one "
            "input, pass `x[None]`."
        )
    if not callable(network):
        raise ValueError(f"`network` must be callable, but is {network!r}.")
    require_plain(network)
    picked = np.unique(np.linspace(0, len(x) - 1, SAMPLES).round().astype(int))
    some = jnp.asarray(x[picked])
    _check_calls(network, some)
    _check_units(network)
    claimed = _claimed(network, x, degree)
    points = Points(network, some, seed, rescaled=claimed is not None)
    _check_outputs(points)
    if claimed is not None:
        check_scaling(points, claimed)
    check_kinks(points)


def _check_calls(network: PyTree, x: Float[Array, "samples *features"]) -> None:
    """One sample, many, compiled or not, and again: the same outputs."""
    first = network(x[0])
    law = (
        "`network` must map one input to a float64 scalar or to two or more logits of "
        "float64"
    )
    fits = isinstance(first, jax.Array) and first.dtype == jnp.float64
    fits = fits and (first.ndim == 0 or (first.ndim == 1 and first.shape[0] > 1))
    require(fits, law, f"maps shape {x.shape[1:]} to {_described(first)}")
    plain = np.stack([np.asarray(network(each)) for each in x])
    law = "`network` must map equal inputs to equal outputs, each time"
    again = np.asarray(network(x[0]))
    require(
        np.array_equal(again, plain[0], equal_nan=True),
        law,
        f"maps one to {plain[0]} and then to {again}",
    )
    law = "`network` must have finite outputs"
    require_all(np.isfinite(plain), law, lambda at: f"is {plain[at]} on sample {at[0]}")
    mapped = np.asarray(jax.vmap(network)(x))
    compiled = np.asarray(jax.jit(jax.vmap(network))(x))
    size = np.max(np.abs(plain))
    for found, how in ((mapped, "under `jax.vmap`"), (compiled, "under `jax.jit`")):
        law = f"`network` must have the same outputs {how} as called on one input"
        require(found.shape == plain.shape, law, f"returns shape {found.shape}")
        require_close(found, plain, 1e-11 * size, law, lambda at: f"on sample {at[0]}")


def _check_outputs(points: Points) -> None:
    for kind, weights in points.rows:
        outputs = np.asarray(points.outputs(weights))
        law = "`network` must have finite outputs at weights of moderate size"
        require_all(
            np.isfinite(outputs),
            law,
            lambda at, outputs=outputs, kind=kind: (
                f"is {outputs[at]} on sample {at[0]} at {kind} weights"
            ),
        )


def _check_units(network: PyTree) -> None:
    try:
        find_units(network)
    except ValueError as error:
        raise AssertionError(
            f"`network.units()` must name the axes of its weights, but: {error}"
        ) from error


def _claimed(
    network: PyTree, x: Float[np.ndarray, "samples *features"], degree: float | None
) -> float | None:
    if degree is not None:
        return float(degree)
    if isinstance(network, AbstractHomogeneous):
        return float(network.degree)
    try:
        return find_degree(network, x)
    except NotHomogeneousError:
        return None


def _described(value: object) -> str:
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    return f"{dtype}{list(shape)}" if shape is not None else repr(value)
