r"""Units: the blocks of weights that are small or large together.

Errors, rates of growth and rest are decided unit by unit, so that a neuron of size
1e-50 is followed as well as one of size 1. Each axis of an array may be named after the
layer of units that runs along it: of $W_{ij}$ from unit $j$ of one layer to
unit $i$ of the next, the axes are named after both layers. The size of a unit is the
norm of all weights that carry its name and index, and a weight belongs to the smaller
of the units that it joins.

Weights of two arrays are a unit where they are told to be the two factors of a network
of degree two, as a neuron and what it sends on: each drives the other. Of more factors,
or of powers, one may grow by itself beside others that are large, and each array has
units of its own. Of two factors, one of them a power, only that one does: the other is
driven by it.
"""

import math
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from . import _tree
from ._pairs import Axis, find_pairs


AxisNames = tuple[str | None, ...]
"""For each axis of an array, the layer of units along it; `None` for inputs, outputs
and what else has no size of its own."""


class Units(eqx.Module):
    """The units that each weight may belong to.

    Attributes:
        candidates: For each weight the indices of the units that it joins; `count`
            where there are fewer of them.
        beside: For each unit another one that drives it, and is as large a part of its
            size; `count` for none.
        count: How many units there are.
        driven: Whether any is driven so.
    """

    candidates: Int[Array, "most weights"]
    beside: Int[Array, " units"]
    count: int = eqx.field(static=True)
    driven: bool = eqx.field(static=True)

    def assign(
        self, vector: Float[Array, " weights"]
    ) -> tuple[Int[Array, " weights"], Float[Array, " weights"]]:
        """The unit of each weight, and the size of that unit."""
        size = jnp.append(_norms(vector, self.candidates, self.count), jnp.inf)
        choice = jnp.argmin(size[self.candidates], axis=0)
        unit = jnp.take_along_axis(self.candidates, choice[None], axis=0)[0]
        return unit, self.sizes(vector, unit)

    def sizes(
        self, vectors: Float[Array, "*some weights"], unit: Int[Array, " weights"]
    ) -> Float[Array, "*some weights"]:
        """The size of the unit of each weight: its norm, and that of what drives it."""
        if not self.driven:
            return self.norms(vectors, unit)
        whole = _norms(vectors, self.candidates, self.count)
        whole = jnp.concatenate([whole, jnp.zeros_like(whole[..., :1])], axis=-1)
        own = _norms(vectors, unit[None], self.count)
        return jnp.hypot(own, whole[..., self.beside])[..., unit]

    def norms(
        self, vectors: Float[Array, "*some weights"], unit: Int[Array, " weights"]
    ) -> Float[Array, "*some weights"]:
        """The norm of the unit of each weight, safe from underflow."""
        return _norms(vectors, unit[None], self.count)[..., unit]

    def totals(
        self, vectors: Float[Array, "*some weights"], unit: Int[Array, " weights"]
    ) -> Float[Array, "*some weights"]:
        """The sum over the unit of each weight."""
        return _totals(vectors, unit, self.count)[..., unit]

    def averages(
        self,
        relative: Float[Array, "*some weights"],
        size: Float[Array, " weights"],
        unit: Int[Array, " weights"],
    ) -> Float[Array, "*some weights"]:
        """The sum over the unit of each weight and what drives it, of squares or such.

        Args:
            relative: What is summed, against the square of the size of each unit.
            size: That of the unit of each weight.
            unit: Of each weight.
        """
        if not self.driven:
            return self.totals(relative, unit)
        total = _totals(relative, unit, self.count)
        size = jax.ops.segment_max(size, unit, self.count)
        size = jnp.append(jnp.where(size > 0, size, 0.0), 0.0)  # -inf for those of none
        lent = size[self.beside] / jnp.where(size[:-1] > 0, size[:-1], 1.0)
        none = jnp.zeros_like(total[..., :1])
        driving = jnp.concatenate([total, none], axis=-1)[..., self.beside]
        return (total + driving * jnp.broadcast_to(lent**2, driving.shape))[..., unit]

    def portions(self, unit: Int[Array, " weights"]) -> Float[Array, " weights"]:
        """One over the number of weights of the unit of each."""
        return 1 / self.totals(jnp.ones(unit.shape), unit)


LIFT, LIFT_TINY = 2.0**480, 2.0**960
"""What numbers up to one are multiplied by before they are squared: the first is for
those down to 1e-145, the second for those below."""


def _norms(vectors, index, count):
    """The norm of the weights at each index; several indices a weight may count."""
    size = jnp.abs(vectors)
    top = jnp.max(size, axis=-1, keepdims=True)
    size = size / jnp.where(top > 0, top, 1.0)
    lifted = jnp.stack([size * LIFT, jnp.minimum(size * LIFT_TINY, LIFT)], axis=-2)
    several = (*lifted.shape[:-1], *index.shape)
    squares = jnp.broadcast_to(lifted[..., None, :] ** 2, several)
    squares = squares.reshape(*lifted.shape[:-1], index.size)
    found = jnp.sqrt(_totals(squares, index.ravel(), count + 1))[..., :count]
    usual, tiny = found[..., 0, :], found[..., 1, :]
    return top * jnp.where(tiny < LIFT, tiny / LIFT_TINY, usual / LIFT)


def _totals(vectors, index, count):
    """The sums at each index."""
    rows = jnp.moveaxis(vectors, -1, 0)
    return jnp.moveaxis(jax.ops.segment_sum(rows, index, count), 0, -1)


def find_units(
    network: PyTree,
    degree: float = math.nan,
    x: Float[Array, "samples *features"] | None = None,
) -> Units:
    """The units of a network: as its method `units` names them, if it has one.

    Else, the entries of a vector are a unit each, and a weight of a matrix or kernel
    belongs to its row or its column, whichever is smaller; where inputs are given,
    axes that carry the same neurons are told by trial.

    Args:
        network: The network.
        degree: Of it; NaN if it has none.
        x: Inputs, at which a network of this degree shows who belongs together.

    Raises:
        ValueError: If `network.units()` does not fit its parameters.
    """
    leaves = jax.tree_util.tree_leaves_with_path(_tree.parameters(network))
    arrays = [leaf for _, leaf in leaves]
    named = getattr(network, "units", None)
    pairs = []
    if degree >= 2 and x is not None and (degree == 2 or len(arrays) == 2):
        pairs = find_pairs(network, x, degree - 1)
    if callable(named):
        names = _checked(named(), [jax.tree_util.keystr(p) for p, _ in leaves], arrays)
    else:
        names = [
            tuple(map(str, range(min(array.ndim, 2)))) + (None,) * (array.ndim - 2)
            for array in arrays
        ]
    names = [
        tuple(None if name is None else f"{k} {name}" for name in axes)
        for k, axes in enumerate(names)
    ]
    shapes = [array.shape for array in arrays]
    if degree == 2:
        return build_units(shapes, _joined(names, pairs))
    return build_units(shapes, names, pairs)


def _joined(names: list[AxisNames], pairs: list[tuple[Axis, Axis]]) -> list[AxisNames]:
    """Names in which both axes of a pair are called the same."""
    called = {other: names[one.array][one.axis] for one, other in pairs}
    return [
        tuple(name and called.get(Axis(k, i), name) for i, name in enumerate(axes))
        for k, axes in enumerate(names)
    ]


def build_units(
    shapes: list[tuple[int, ...]],
    names: list[AxisNames],
    pairs: Iterable[tuple[Axis, Axis]] = (),
) -> Units:
    """The units of arrays of these shapes, whose axes are named so.

    Those along the second of two axes are driven by those along the first.
    """
    first: dict[str, int] = {}
    count = 0
    for shape, axes in zip(shapes, names, strict=True):
        for size, name in zip(shape, axes, strict=True):
            if name is not None and name not in first:
                first[name] = count
                count += size
    rows = []
    for shape, axes in zip(shapes, names, strict=True):
        grid = np.indices(shape)
        found = [
            first[name] + grid[axis].ravel()
            for axis, name in enumerate(axes)
            if name is not None
        ]
        if not found:  # an array without named axes is one unit
            found = [np.full(int(np.prod(shape)), count)]
            count += 1
        rows.append(found)
    most = max(map(len, rows))
    columns = [
        np.stack([*found, *[np.full_like(found[0], -1)] * (most - len(found))])
        for found in rows
    ]
    candidates = np.concatenate(columns, axis=1)
    beside = np.full(count, count)
    for one, other in pairs:
        by, name = (names[axis.array][axis.axis] for axis in (one, other))
        if by is not None and name is not None:
            size = shapes[one.array][one.axis]
            beside[first[name] + np.arange(size)] = first[by] + np.arange(size)
    candidates = np.where(candidates < 0, count, candidates)
    driven = bool(np.any(beside < count))
    return Units(jnp.asarray(candidates), jnp.asarray(beside), count, driven)


def _checked(names, paths, arrays) -> list[AxisNames]:
    names = list(names)
    if len(names) != len(arrays):
        raise ValueError(
            "`network.units()` must return one tuple of axis names for each of the "
            f"{len(arrays)} arrays of weights ({', '.join(paths)}), but returns "
            f"{len(names)}."
        )
    sizes: dict[str, tuple[int, str]] = {}
    for axes, path, array in zip(names, paths, arrays, strict=True):
        if len(axes) != array.ndim:
            raise ValueError(
                f"`network.units()` must name each axis of `network{path}`, of shape "
                f"{array.shape}, but returns {axes!r}. For axes without units, give "
                "None."
            )
        for name, size in zip(axes, array.shape, strict=True):
            if name is None:
                continue
            before, where = sizes.setdefault(name, (size, path))
            if before != size:
                raise ValueError(
                    f"`network.units()` must give {name!r} to axes of one size, but "
                    f"`network{where}` has {before} and `network{path}` has {size}."
                )
    return names
