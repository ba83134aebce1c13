"""What arguments must be, wherever they enter: each check names the guilty one."""

import operator

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike, Float64, PyTree


def require_x64() -> None:
    """Refuse to work in float32, where a limit to 1e-12 has no meaning.

    Raises:
        ValueError: If JAX runs without 64-bit floats.
    """
    if not jax.config.read("jax_enable_x64"):
        raise ValueError(
            "gflow needs 64-bit floats, but JAX runs in 32 bits. Before any array is "
            'made, call `jax.config.update("jax_enable_x64", True)`.'
        )


class TracedError(TypeError):
    """A function that works on the host was called inside of `jit` or its kind."""


def require_concrete(arguments: PyTree, name: str) -> None:
    """Refuse to be traced.

    Raises:
        TracedError: If there is a tracer among the arguments.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments)):
        raise TracedError(
            f"`{name}` works on the host, and cannot be called inside of `jit`, `vmap` "
            "or `grad`. Call it outside, once for each network. Inside, a flow's own "
            "functions serve: `flow.margins(network)`, `flow.log_loss(network)`."
        )


def checked_array(value: ArrayLike, name: str) -> Float64[np.ndarray, "*shape"]:
    """An argument as a finite float64 array, or an error that names it."""
    if isinstance(value, np.ma.MaskedArray) and np.any(np.ma.getmaskarray(value)):
        raise ValueError(
            f"`{name}` must not be masked, but {np.sum(np.ma.getmaskarray(value))} of "
            f"its {value.size} entries are. Remove these samples."
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be an array of numbers, but NumPy makes none of it: {error}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must hold real numbers, but has {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        raise ValueError(
            f"`{name}` must be float64, but is {array.dtype}. If these digits are "
            f"all there is, pass `{name}.astype('float64')`."
        )
    array = array.astype(np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"`{name}` must be finite, but {np.sum(~np.isfinite(array))} of its "
            f"{array.size} entries are NaN or inf. Remove these samples."
        )
    return array


def require_signs(y: Float64[np.ndarray, " samples"]) -> None:
    """Refuse labels that are not -1 and +1.

    Raises:
        ValueError: If there is any other.
    """
    wrong = np.unique(y[np.abs(y) != 1])[:4]
    if wrong.size:
        raise ValueError(
            "`y` must hold -1 and +1 only, but holds "
            f"[{', '.join(f'{label:g}' for label in wrong)}]. "
            "For labels 0 and 1, pass `2 * y - 1`."
        )


def checked_count(value: int, name: str, least: int = 1) -> int:
    """An argument as an integer of at least `least`, or an error that names it."""
    try:
        count = operator.index(value)
    except TypeError:
        raise ValueError(
            f"`{name}` must be an integer, but is {value!r}. "
            "For a rounded figure, pass `int(...)` of it."
        ) from None
    if count < least:
        raise ValueError(
            f"`{name}` must be at least {least}, but is {count}. Pass a larger one."
        )
    return count
