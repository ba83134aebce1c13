"""What all curves of networks have in common: times, points, and maps over them."""

import abc
import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from . import _tree
from ._checks import TracedError
from ._field import Field
from ._flow import AbstractFlow
from ._mapping import mapped
from ._point import Point, followed
from ._steps import Steps


UNTRACEABLE = (
    TracedError,
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""What a function raises that cannot be compiled."""


def require_homogeneous(curve: "AbstractCurve", lacking: str) -> float:
    """The degree of a curve of a network that classifies.

    Raises:
        ValueError: If it is none; the message says what it lacks so.
    """
    if curve.degree is None or curve.flow.kind == "targets":
        raise ValueError(
            "`curve` must be that of a homogeneous network that classifies: without a "
            f"degree, or under the square loss, there is no {lacking}."
        )
    return float(curve.degree)


class AbstractCurve(eqx.Module):
    """A network at many times, as a sequence of points.

    `curve[i]` is a `Point`, `curve[i:j]` a curve, `len(curve)` the number of times, and
    a loop over it one over its points.
    """

    log_t: eqx.AbstractVar[Float[Array, " times"]]
    log_radius: eqx.AbstractVar[Float[Array, " times"]]
    direction: eqx.AbstractVar[PyTree]
    log_loss: eqx.AbstractVar[Float[Array, " times"]]
    weights: eqx.AbstractVar[Float[Array, "times margins"]]
    degree: eqx.AbstractVar[float | None]
    stats: eqx.AbstractVar[dict[str, Any]]
    flow: eqx.AbstractVar[AbstractFlow]
    field: eqx.AbstractVar[Field]
    tau: eqx.AbstractVar[Float[Array, " times"]]
    gates: eqx.AbstractVar[Bool[Array | np.ndarray, "times samples kinks"]]
    steps: eqx.AbstractVar[Steps | None]

    @abc.abstractmethod
    def _recorded(self, at: slice) -> dict[str, Any]:
        """What points at some times have of `kinks`, `sides` and `slides`, if known."""

    @abc.abstractmethod
    def _sliced(self, index: slice) -> Self:
        """The curve at some of its times."""

    @property
    def network(self) -> PyTree:
        r"""The network with weights $e^\rho \theta$ at each time; infinite far out."""
        radius = jnp.exp(jnp.asarray(self.log_radius))
        moving, still = _tree.partition(self.direction)
        stretched = jax.tree.map(
            lambda leaf: leaf * radius.reshape(-1, *(1,) * (leaf.ndim - 1)), moving
        )
        return eqx.combine(stretched, still)

    @property
    def margins(self) -> Float[Array, "times margins"]:
        r"""The margins $z(w)$ at each time; infinite far out. Errors of regression."""
        return self.map(_margins)

    def _shown(self) -> dict[str, str]:
        """What both ends of the curve are, in words."""
        rows = followed(self.flow, self.direction, self.degree)
        if len(self) == 0:
            return rows | {"points": "none"}
        size = sum(
            leaf.size for leaf in jax.tree.leaves(_tree.parameters(self.direction))
        )
        rows["network"] += f", {size // len(self)} weights"
        ends = [
            (f"{float(row[0]):.6g}", f"{float(row[-1]):.6g}")
            for row in (self.log_t, self.log_radius, self.log_loss)
        ]
        names = ("log t", "log radius", "log loss")
        rows["points"] = str(len(self))
        rows |= {name: f"{a} to {b}" for name, (a, b) in zip(names, ends, strict=True)}
        last = self[-1]
        if self.degree is not None and self.flow.kind != "targets":
            least = float(jnp.min(self.flow.margins(last.direction)))
            rows["margin"] = f"{least:.12g}, normalized, at the end"
        return rows

    def __len__(self) -> int:
        return len(self.log_t)

    def __iter__(self) -> Iterator[Point]:
        moving, still = _apart(self._points())
        for index in range(len(self)):
            yield eqx.combine(_row(moving, index), still)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._sliced(index)
        at, times = operator.index(index), len(self)
        if not -times <= at < times:
            raise IndexError(f"The curve has {times} points, and none of number {at}.")
        at = at % times
        moving, still = _apart(self._points({}))
        found = eqx.combine(_row(moving, at), still)
        recorded = self._recorded(slice(at, at + 1))
        kinks = recorded.pop("kinks", None)
        parts = {name: jnp.asarray(rows[0]) for name, rows in recorded.items()}
        return dataclasses.replace(found, kinks=kinks, **parts)

    def map(self, fn: Callable[..., PyTree], *arrays: PyTree) -> PyTree:
        """Apply a function to each point: a diagnostic, or one of your own.

        Compiled once for each `fn` and shape of the data and weights, for curves of up
        to 8, 16, 32, ... points, so give the same function, not a new `lambda` each
        time; curves of fewer points, and of large networks, compile for their length.
        One that cannot be compiled, since it works on the host, is called at
        one point after the other.

        Args:
            fn: Takes a `Point`, and one entry of each of `arrays`.
            arrays: More arguments, arrays or trees of them with a leading time axis.

        Returns:
            What `fn` returns, each array with a leading time axis.

        Raises:
            ValueError: If `arrays` are not as long as the curve.

        Example:
            `curve.map(gflow.margins.normalized)`
        """
        moving, still = _apart(self._points())
        try:
            return mapped(_at, (fn, still), (moving, arrays))
        except UNTRACEABLE:
            rows = [
                fn(point, *jax.tree.map(lambda leaf, k=k: leaf[k], arrays))
                for k, point in enumerate(self)
            ]
            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)

    def _points(self, recorded: dict[str, Any] | None = None) -> Point:
        """All points as one, with a leading time axis, and with what is recorded."""
        recorded = self._recorded(slice(None)) if recorded is None else recorded
        columns = (self.log_radius, self.log_t, self.log_loss, self.weights)
        return Point(
            self.flow,
            self.direction,
            *map(jnp.asarray, columns),
            degree=self.degree,
            kinks=recorded.pop("kinks", None),
            **jax.tree.map(jnp.asarray, recorded),
        )


def require_curve(curve: AbstractCurve) -> None:
    """Refuse what is no curve, or an empty one.

    Raises:
        ValueError: If it is one of these.
    """
    if not isinstance(curve, AbstractCurve):
        raise ValueError(
            "`curve` must be what `gflow.solve` or `gflow.descent.descend` returned, "
            f"but is {type(curve).__name__}."
        )
    if len(curve) == 0:
        raise ValueError(
            "`curve` must have points, but has none. Ask for times on the curve."
        )


def taken(direction: PyTree, index: slice) -> PyTree:
    """A stack of networks at some of its times."""
    moving, still = _tree.partition(direction)
    return eqx.combine(jax.tree.map(lambda leaf: leaf[index], moving), still)


def _row(stacked: PyTree, index: int) -> PyTree:
    """One entry of each array."""
    leaves, structure = jax.tree.flatten(stacked)
    return jax.tree.unflatten(structure, _entries(leaves, index))


@jax.jit
def _entries(leaves: list[Array], index: Array) -> list[Array]:
    """One program for all of them, where `leaf[3]` and `leaf[4]` would each be one."""
    return [jax.lax.dynamic_index_in_dim(a, index, keepdims=False) for a in leaves]


def _apart(points: Point) -> tuple[Point, Point]:
    """What changes from point to point, and what does not."""
    moving = dataclasses.replace(
        points, flow=False, direction=_tree.moves(points.direction),
        log_radius=True, log_t=True, log_loss=True, weights=True, sides=True,
        slides=True,
    )  # fmt: skip
    return eqx.partition(points, moving)


def _margins(point: Point) -> Float[Array, " margins"]:
    return point.margins


def _at(still: tuple[Callable, Point], row: tuple[Point, tuple]) -> PyTree:
    """What a function makes of a point and of what belongs to it."""
    (fn, same), (here, given) = still, row
    return fn(eqx.combine(here, same), *given)
