r"""Margins on the subspace of weights that stays on the kinks that are slid along.

Where each kink function $u_k$ is linear in the weights, $u_k = 0$ on a subspace, and
$\theta = B \phi$ with the columns of $B$ an orthonormal basis of it. A condition of
Karush, Kuhn and Tucker in $\phi$, for margins that are smooth there, leaves a gradient
that is a combination of the $\nabla u_k$: this is the condition in $\theta$ for gates
in between, if these combinations are those of gates in [0, 1] (see `kinks.py`).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int
from scipy.sparse.csgraph import connected_components

from .._blocks import whole
from .._directions import kink_rows
from .._field import Field, Gates
from .._filippov import groups, independent
from .._types import AnyArray


class Restricted(eqx.Module):
    r"""The margins of a field as functions of $\phi$, where $\theta = B \phi$.

    Weights that no kink knows of come first in $\phi$, as they are.

    Attributes:
        field: The margins, at fixed gates.
        apart: The weights that no kink knows of.
        touched: The others.
        basis: Of the subspace of the latter.
        weights: How many weights there are.
    """

    field: Field
    apart: Int[Array, " apart"]
    touched: Int[Array, " touched"]
    basis: Float[Array, "touched free"]
    weights: int = eqx.field(static=True)

    def wide(
        self, points: Float[AnyArray, "*times free"]
    ) -> Float[Array, "*times weights"]:
        r"""$\theta = B \phi$."""
        whole = jnp.zeros((*points.shape[:-1], self.weights))
        whole = whole.at[..., self.apart].set(points[..., : self.apart.size])
        inner = points[..., self.apart.size :] @ self.basis.T
        return whole.at[..., self.touched].set(inner)

    def narrow(
        self, points: Float[AnyArray, "*times weights"]
    ) -> Float[Array, "*times free"]:
        r"""$\phi = B^\top \theta$."""
        inner = points[..., self.touched] @ self.basis
        return jnp.concatenate([points[..., self.apart], inner], axis=-1)

    def margins(self, point: Float[Array, " free"]) -> Float[Array, " margins"]:
        """Its margins."""
        return self.field.margins(self.wide(point))

    def jacobian(
        self, point: Float[Array, " free"]
    ) -> tuple[Float[Array, " margins"], Float[Array, "margins free"]]:
        """Its margins and their derivatives."""
        margins, rows = self.field.jacobian(self.wide(point))
        return margins, self.narrow(rows)


def restricted(
    field: Field, theta: Float64[np.ndarray, " weights"], slides: Int[np.ndarray, " n"]
) -> Restricted:
    """A field that keeps to some kinks, whose functions are linear in the weights.

    Args:
        field: The field, at gates that are right beside them.
        theta: Any direction.
        slides: The numbers of the kinks; none may be -1.
    """
    rows = np.zeros((0, theta.size))
    if slides.size > 0:
        asked = (field, jnp.asarray(theta), jnp.asarray(slides))
        rows = np.asarray(eqx.filter_jit(kink_rows)(*asked))
    normals = orthonormal(rows[np.sort(independent(rows))])
    touched = np.flatnonzero(np.any(normals != 0, axis=0))
    gates = Gates(field.gates.on, jnp.asarray(slides)[None], jnp.asarray(normals)[None])
    blocks = whole(theta.size, field.kinks.count)
    return Restricted(
        field=eqx.tree_at(lambda f: (f.blocks, f.gates), field, (blocks, gates)),
        apart=jnp.asarray(np.setdiff1d(np.arange(theta.size), touched)),
        touched=jnp.asarray(touched),
        basis=jnp.asarray(across(normals[:, touched])),
        weights=theta.size,
    )


def orthonormal(
    rows: Float64[np.ndarray, "some weights"],
) -> Float64[np.ndarray, "some weights"]:
    """An orthonormal basis of the span of independent rows, block by block."""
    basis = np.zeros_like(rows)
    for part in groups(rows):
        columns = np.flatnonzero(np.any(rows[part] != 0, axis=0))
        basis[np.ix_(part, columns)] = np.linalg.qr(rows[np.ix_(part, columns)].T)[0].T
    return basis


def across(
    normals: Float64[np.ndarray, "normals weights"],
) -> Float64[np.ndarray, "weights free"]:
    """An orthonormal basis of what is orthogonal to all of these orthonormal rows.

    Block by block: rounding in large weights must not reach units that are zero.
    """
    some = (normals != 0).astype(float)
    count, part = connected_components(some @ some.T, directed=False)
    basis = []
    for k in range(count):
        columns = np.flatnonzero(np.any(some[part == k], axis=0))
        block = normals[np.ix_(part == k, columns)]
        full, _ = np.linalg.qr(block.T, mode="complete")
        whole = np.zeros((normals.shape[1], len(columns) - len(block)))
        whole[columns] = full[:, len(block) :]
        basis.append(whole)
    return np.concatenate(basis, axis=1) if basis else np.zeros((0, 0))
