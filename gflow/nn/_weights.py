"""The weights of fully connected networks: drawn, or given and checked.

Layer by layer, each of shape (out, in). The last layer is (classes, in), or for a
scalar output the vector (in,): `weight @ x` serves both.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray


Weights = tuple[Float[Array, "... _in"], ...]
OutSize = int | Literal["scalar"]


def gaussian_weights(
    in_size: int, widths: Sequence[int], out_size: OutSize, key: PRNGKeyArray
) -> Weights:
    r"""Independent entries $\mathcal N(0, 1 / \text{in})$, or an error on bad sizes."""
    return draw(key, dense_shapes(in_size, widths, out_size))


def dense_shapes(
    in_size: int, widths: Sequence[int], out_size: OutSize
) -> tuple[tuple[int, ...], ...]:
    """The shapes of the layers of a fully connected network, or an error."""
    if not isinstance(widths, tuple | list):
        raise ValueError(
            f"`widths` must be a tuple of ints, but is {widths!r}. "
            "For one hidden layer, pass `(32,)`."
        )
    if not (out_size == "scalar" or _is_int(out_size, at_least=2)):
        raise ValueError(
            f'`out_size` must be "scalar" or an int >= 2, but is {out_size!r}. '
            'For one output, pass "scalar".'
        )
    for name, size in [("in_size", in_size), *(("widths", width) for width in widths)]:
        if not _is_int(size, at_least=1):
            raise ValueError(f"`{name}` must hold ints >= 1, but holds {size!r}.")
    inputs = (in_size, *widths)
    outputs: list[tuple[int, ...]] = [(width,) for width in widths]
    outputs.append(() if out_size == "scalar" else (out_size,))
    return tuple((*rows, size) for rows, size in zip(outputs, inputs, strict=True))


@functools.partial(jax.jit, static_argnames="shapes")
def draw(key: PRNGKeyArray, shapes: tuple[tuple[int, ...], ...]) -> Weights:
    """Independent Gaussian layers of the given shapes, of variance 1 / in."""
    # One draw for all layers: each shape drawn would compile anew, in 0.5 s.
    counts = [math.prod(shape) for shape in shapes]
    flat = jnp.split(jr.normal(key, (sum(counts),)), np.cumsum(counts)[:-1])
    return tuple(
        part.reshape(shape) / math.sqrt(shape[-1])
        for part, shape in zip(flat, shapes, strict=True)
    )


def checked_weights(weights: Sequence[ArrayLike]) -> Weights:
    """Given weights as arrays, or an error if their shapes do not form a network."""
    arrays = tuple(jnp.asarray(weight) for weight in weights)
    if not arrays:
        raise ValueError("`weights` must hold at least one layer, but is empty.")
    for layer, array in enumerate(arrays):
        last = layer == len(arrays) - 1
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(
                f"`weights[{layer}]` must hold floats, but has {array.dtype}. "
                "Pass `weight.astype('float64')`."
            )
        if array.ndim != 2 and not (last and array.ndim == 1):
            shape = "(classes, in), or (in,) for a scalar" if last else "(out, in)"
            raise ValueError(
                f"`weights[{layer}]` must have shape {shape}, but has {array.shape}."
            )
        if last and array.ndim == 2 and array.shape[0] == 1:
            raise ValueError(
                f"`weights[{layer}]` must have at least two rows, one a class, but "
                f"has shape {array.shape}. For a scalar output, pass `weight[0]`."
            )
        if layer > 0 and array.shape[-1] != arrays[layer - 1].shape[0]:
            raise ValueError(
                f"`weights[{layer}]` must have one column for each of the "
                f"{arrays[layer - 1].shape[0]} rows of `weights[{layer - 1}]`, but has "
                f"shape {array.shape}."
            )
    return arrays


def layer_names(weights: Weights) -> tuple[tuple[str | None, ...], ...]:
    """For each layer the names of its axes: those of the hidden units that it joins."""
    last = len(weights) - 1
    names = [None, *(f"layer {k}" for k in range(1, last + 1)), None]
    axes = [(names[k + 1], names[k]) for k in range(last + 1)]
    axes[-1] = axes[-1][2 - weights[-1].ndim :]
    return tuple(axes)


def sizes(weights: Weights) -> tuple[int, tuple[int, ...], OutSize]:
    """The arguments `in_size`, `widths`, `out_size` of the network of these weights."""
    widths = tuple(weight.shape[0] for weight in weights[:-1])
    out_size = "scalar" if weights[-1].ndim == 1 else weights[-1].shape[0]
    return weights[0].shape[-1], widths, out_size


def require_one_input(x: ArrayLike, weights: Weights) -> None:
    """Refuse a batch, which some layers would accept and answer wrongly.

    Raises:
        ValueError: If `x` is not of shape (in,).
    """
    expected = (weights[0].shape[-1],)
    if jnp.shape(x) != expected:
        raise ValueError(
            f"`x` must be one input of shape {expected}, but has shape {jnp.shape(x)}. "
            "For many inputs, use `jax.vmap(network)(x)`."
        )


def _is_int(value: object, at_least: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return int(value) >= at_least
