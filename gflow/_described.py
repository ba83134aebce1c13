"""What a file says of a flow and a network, and whether they are the same again.

A file holds arrays and words, no Python objects: reading it is safe, and the code comes
from whoever reads it.
"""

import dataclasses
import hashlib
import re
from importlib import metadata
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from . import _tree
from ._field import Field
from ._flow import AbstractFlow
from .clocks import AbstractClock, ArcLength, LogTime, Loss, Polar, Time


try:
    VERSION = metadata.version("gflow")
except metadata.PackageNotFoundError:  # run from its sources
    VERSION = "(not installed)"


SHORT = 16
"""Arrays of at most so many entries are spelled out, longer ones told by a digest."""


@dataclasses.dataclass(frozen=True)
class Part:
    """An array of a network.

    Attributes:
        name: Of the variable in the file.
        path: In the network, as Python writes it.
        value: The array.
    """

    name: str
    path: str
    value: np.ndarray

    def dimensions(self, skipped: int = 0) -> tuple[str, ...]:
        """A name for each axis but the first `skipped`, counted from there."""
        axes = range(self.value.ndim - skipped)
        return tuple(f"{self.name}_axis_{axis}" for axis in axes)


def moving(network: PyTree) -> list[Part]:
    """The weights of a network, in the order in which a point of weight space does."""
    return _parts(_tree.partition(network)[0], "direction")


def still(network: PyTree) -> list[Part]:
    """All other arrays of a network."""
    return _parts(eqx.filter(_tree.partition(network)[1], _is_numeric), "fixed")


def _is_numeric(leaf) -> bool:
    """Whether a file can hold it: random keys, functions and text are left out."""
    return eqx.is_array_like(leaf) and np.asarray(leaf).dtype.kind in "biuf"


def _parts(tree: PyTree, prefix: str) -> list[Part]:
    parts, seen = [], {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        text = jax.tree_util.keystr(path)
        name = re.sub(r"[^0-9A-Za-z]+", "_", prefix + text).strip("_")
        seen[name] = seen.get(name, 0) + 1
        unique = name if seen[name] == 1 else f"{name}__{seen[name]}"
        parts.append(Part(unique, text, np.asarray(leaf)))
    return parts


def settings(flow: AbstractFlow) -> dict[str, str]:
    """What a flow is but for its data, in words that two alike flows share."""
    return {"flow": _text(flow, ("loss", "x", "y")), "loss": _text(flow.loss, ())}


def _text(module, left_out) -> str:
    fields = [f.name for f in dataclasses.fields(module) if f.name not in left_out]
    inner = ", ".join(f"{name}={spelled(getattr(module, name))}" for name in fields)
    return f"{type(module).__name__}({inner})"


class _Spelled:
    """An array, whose representation tells it from any other."""

    def __init__(self, array):
        is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        self.array = np.asarray(jax.random.key_data(array) if is_key else array)

    def __repr__(self):
        if self.array.size <= SHORT and self.array.dtype.kind != "V":
            return repr(self.array.tolist())
        digest = hashlib.sha256(np.ascontiguousarray(self.array).tobytes())
        return f"{self.array.dtype}{self.array.shape}#{digest.hexdigest()[:16]}"


class _Named:
    """A function, whose representation is the same in another process."""

    def __init__(self, function):
        self.function = function

    def __repr__(self):
        kind = type(self.function).__qualname__
        return f"<function {getattr(self.function, '__qualname__', kind)}>"


def spelled(value: Any) -> str:
    """All that a value is, in words no other value shares; of functions, the name."""

    def words(leaf):
        if isinstance(leaf, jax.Array | np.ndarray | np.generic):
            return _Spelled(leaf)
        return _Named(leaf) if callable(leaf) else leaf

    return eqx.tree_pformat(jax.tree.map(words, value), width=10**6)


READY = {kind.__name__: kind for kind in (Polar, Loss, ArcLength, LogTime, Time)}
"""The clocks that a file knows by their names."""


def clock_name(clock: AbstractClock) -> str:
    """How a file names a clock: a user's with all that it is."""
    kind = type(clock)
    return kind.__name__ if kind in READY.values() else _text(clock, ())


def end_margins(field: Field, point: np.ndarray) -> np.ndarray:
    """The margins of a direction, by which a network is known again."""
    return np.asarray(eqx.filter_jit(field.margins)(jnp.asarray(point)))


SAME = 1e-9
"""Margins differ by less than this of the largest nearby if a function is the same."""


def gives(field: Field, point: np.ndarray, margins: np.ndarray) -> bool:
    """Whether a flow gives these margins at a point.

    What is rounding there, where terms cancel or targets are met, is not so nearby.
    """
    found = end_margins(field, point)
    near = np.random.default_rng(0).uniform(0.5, 1.5, point.shape) * point
    sizes = [np.abs(margins), np.abs(end_margins(field, near))]
    most = max(np.max(size, initial=0.0) for size in sizes)
    return found.shape == margins.shape and np.allclose(
        found, margins, rtol=0.0, atol=SAME * most, equal_nan=True
    )


@dataclasses.dataclass(frozen=True)
class Record:
    """What a file knows of a flow and a network.

    Attributes:
        settings: What the flow is but for its data, in words.
        x: Its inputs.
        y: Its labels.
        shapes: Of the weights, by their paths in the network.
        fixed: All other arrays of the network, by theirs.
    """

    settings: dict[str, str]
    x: np.ndarray
    y: np.ndarray
    shapes: dict[str, tuple[int, ...]]
    fixed: dict[str, np.ndarray]


def record_of(flow: AbstractFlow, network: PyTree) -> Record:
    """What a file is to know."""
    return Record(
        settings(flow),
        np.asarray(flow.x),
        np.asarray(flow.y),
        {part.path: part.value.shape for part in moving(network)},
        {part.path: part.value for part in still(network)},
    )


def clock_of(name: str, given: AbstractClock | None) -> AbstractClock:
    """The clock of a file: a ready one by its name, else the one that is given.

    Raises:
        ValueError: If that is another.
    """
    if given is None and name in READY:
        return READY[name]()
    if given is None or clock_name(given) != name:
        raise ValueError(f"`clock` must be {name}, as in the file, but is {given!r}.")
    return given


def require_same(record: Record, flow: AbstractFlow, network: PyTree) -> None:
    """Refuse another flow, or a network whose arrays are others.

    Raises:
        ValueError: If there is any difference; the message names it.
    """
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            "`flow` must be the `gflow.GradientFlow` or `gflow.SteepestFlow` that was "
            f"solved, but is {flow!r}."
        )
    for name, found in settings(flow).items():
        if record.settings[name] != found:
            what = "flow" if name == "flow" else f"flow.{name}"
            raise ValueError(
                f"`{what}` must be {record.settings[name]}, as in the file, but is "
                f"{found}."
            )
    for name, given in (("x", flow.x), ("y", flow.y)):
        _require_data(name, getattr(record, name), np.asarray(given))
    _require_weights(record.shapes, network)
    given = {part.path: part.value for part in still(network)}
    for path in sorted({*record.fixed, *given}):
        before, now = record.fixed.get(path), given.get(path)
        if before is None or now is None or not np.array_equal(before, now):
            raise ValueError(
                f"`network{path}` must be {_shown(before)}, as in the file, but is "
                f"{_shown(now)}."
            )


def _require_data(name: str, expected: np.ndarray, found: np.ndarray) -> None:
    if found.shape != expected.shape:
        raise ValueError(
            f"`flow.{name}` must have shape {expected.shape}, as in the file, but "
            f"has shape {found.shape}."
        )
    if not np.array_equal(found, expected):
        row = np.argmax(np.any((found != expected).reshape(len(found), -1), axis=1))
        raise ValueError(
            f"`flow.{name}` must be that of the file, but differs, first in sample "
            f"{row}. Pass the data of the solve."
        )


def _require_weights(expected: dict[str, tuple[int, ...]], network: PyTree) -> None:
    found = {part.path: part.value.shape for part in moving(network)}
    if list(found) != list(expected):
        raise ValueError(
            f"`network` must have the weights {_listed(expected)}, as in the file, but "
            f"has {_listed(found)}. Make it as it was made for the solve."
        )
    for path, shape in found.items():
        if shape != expected[path]:
            raise ValueError(
                f"`network{path}` must have shape {expected[path]}, as in the file, "
                f"but has shape {shape}."
            )


def _listed(paths: Any) -> str:
    return ", ".join(f"`network{path}`" for path in paths) or "none"


def _shown(value: np.ndarray | None) -> str:
    if value is None:
        return "absent"
    return spelled(value)
