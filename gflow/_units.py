r"""Units: the blocks of weights that are small or large together.

Errors, rates of growth and rest are decided unit by unit, so that a neuron of size
1e-50 is followed as well as one of size 1. Each axis of an array may be named after the
layer of units that runs along it: of $W_{ij}$ from unit $j$ of one layer to
unit $i$ of the next, the axes are named after both layers. The size of a unit is the
norm of all weights that carry its name and index, and a weight belongs to the smaller
of the units that it joins.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from . import _tree


AxisNames = tuple[str | None, ...]
"""For each axis of an array, the layer of units along it; `None` for inputs, outputs
and what else has no size of its own."""


class Units(eqx.Module):
    """The units that each weight may belong to.

    Attributes:
        candidates: For each weight the indices of the units that it joins; `count`
            where there are fewer of them.
        count: How many units there are.
    """

    candidates: Int[Array, "most weights"]
    count: int = eqx.field(static=True)

    def assign(
        self, vector: Float[Array, " weights"]
    ) -> tuple[Int[Array, " weights"], Float[Array, " weights"]]:
        """The unit of each weight, and the norm of all weights in that unit."""
        far = jnp.full(1, jnp.inf)
        size = jnp.concatenate([_norms(vector, self.candidates, self.count), far])
        choice = jnp.argmin(size[self.candidates], axis=0)
        unit = jnp.take_along_axis(self.candidates, choice[None], axis=0)[0]
        return unit, self.norms(vector, unit)

    def norms(
        self, vector: Float[Array, " weights"], unit: Int[Array, " weights"]
    ) -> Float[Array, " weights"]:
        """The norm of the unit of each weight, safe from underflow."""
        return self.unit_norms(vector, unit)[unit]

    def unit_norms(
        self, vector: Float[Array, " weights"], unit: Int[Array, " weights"]
    ) -> Float[Array, " units"]:
        """The norm of each unit; 0 for those without a weight."""
        return _norms(vector, unit[None], self.count)

    def totals(
        self, vector: Float[Array, " weights"], unit: Int[Array, " weights"]
    ) -> Float[Array, " weights"]:
        """The sum over the unit of each weight."""
        return jax.ops.segment_sum(vector, unit, self.count)[unit]

    def populated(self, unit: Int[Array, " weights"]) -> Float[Array, ""]:
        """How many units have a weight; an index of `count` is of none."""
        ones = jnp.ones(unit.shape)
        return jnp.sum(jax.ops.segment_max(ones, unit, self.count) > 0)


def _norms(vector, index, count):
    """The norm of the weights at each index; several indices a weight may count."""
    size = jnp.broadcast_to(jnp.abs(vector), index.shape).ravel()
    index = index.ravel()
    top = jax.ops.segment_max(size, index, count + 1)
    top = jnp.where(top > 0, top, 1.0)
    square = jax.ops.segment_sum((size / top[index]) ** 2, index, count + 1)
    return (top * jnp.sqrt(square))[:count]


def find_units(network: PyTree) -> Units:
    """The units of a network: as its method `units` names them, if it has one.

    Else, the entries of a vector are a unit each, and a weight
    of a matrix or kernel belongs to its row or its column, whichever is smaller.

    Raises:
        ValueError: If `network.units()` does not fit its parameters.
    """
    leaves = jax.tree_util.tree_leaves_with_path(_tree.parameters(network))
    arrays = [leaf for _, leaf in leaves]
    named = getattr(network, "units", None)
    if callable(named):
        names = _checked(named(), [jax.tree_util.keystr(p) for p, _ in leaves], arrays)
    else:
        names = [
            tuple(f"{k}:{axis}" for axis in range(min(array.ndim, 2)))
            + (None,) * (array.ndim - 2)
            for k, array in enumerate(arrays)
        ]
    return build_units([array.shape for array in arrays], names)


def build_units(shapes: list[tuple[int, ...]], names: list[AxisNames]) -> Units:
    """The units of arrays of these shapes, whose axes are named so."""
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
    return Units(jnp.asarray(np.where(candidates < 0, count, candidates)), count)


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
