"""On which devices a flow runs: those that hold its samples."""

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, PyTree


def devices_of(x: ArrayLike) -> NamedSharding | None:
    """How samples are spread over several devices, or `None` for one device.

    A mesh with explicit axes becomes one whose axes the compiler handles.
    """
    if not isinstance(x, Array) or not isinstance(x.sharding, NamedSharding):
        return None
    mesh = x.sharding.mesh
    if mesh.size == 1 or not isinstance(mesh, Mesh):
        return None
    return NamedSharding(Mesh(mesh.devices, mesh.axis_names), x.sharding.spec)


def beside(tree: PyTree, x: Array) -> PyTree:
    """A tree with a copy on each device that holds some of `x`.

    So programs see the same placement at each call, and are compiled once.
    """
    spread = devices_of(x)
    if spread is None:
        return tree
    return jax.device_put(tree, NamedSharding(spread.mesh, PartitionSpec()))
