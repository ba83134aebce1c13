r"""How fast the flow leaves, or reaches, a stationary direction.

The late flow is the ascent of the smallest margin on the sphere. It keeps to the
surface on which the active margins are equal, and there

$$\dot\delta = S \delta, \qquad
  S = P \Big(\sum_i q_i \nabla^2 z_i - L m I\Big) P,$$

with $m$ the margin, $q$ the multipliers that sum to one, and $P$ the projection onto
the tangent space of that surface: at a stationary direction the directions orthogonal
to the active gradients, and so to $\theta$, which they span. The term $L m I$ is the
curvature of the sphere, as $J^\top q = L m \theta$.

The eigenvalues of $S$ are growth rates in the polar clock. As $\rho' = L m$, division
by $L m$ makes them powers of the radius. A unit whose weights are zero has no second
derivative if the margins are of degree above two in them; its rate is $-L m$, decay.
"""

import numpy as np
from jaxtyping import Float64
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from .model import Model
from .operator import Symmetric


MOST_DENSE = 800  # weights; above, only the largest rates are found
KEPT = 12  # rates that Lanczos' method is asked for
RESTARTS = 1000  # of his method; each takes some 13 products with the Hessian
BEHIND = 10.0  # where the normal directions are put, in units of L m


class RatesUnknownError(Exception):
    """The largest rates have not been found."""


def growth(
    model: Model,
    theta: Float64[np.ndarray, " weights"],
    multipliers: Float64[np.ndarray, " margins"],
    normals: Float64[np.ndarray, "normals weights"],
) -> tuple[Float64[np.ndarray, " rates"], Float64[np.ndarray, "weights rates"]]:
    r"""Rates in units of $L m$, decreasing, and their directions.

    Args:
        model: The margins.
        theta: The direction.
        multipliers: $\mu$, with $\theta = \sum_i \mu_i \nabla z_i$ or nearly so.
        normals: Vectors that span the normal space.

    Raises:
        RatesUnknownError: If Lanczos' method has not found them in `RESTARTS`.
    """
    basis = column_space(normals)
    if theta.size > MOST_DENSE:
        return largest(model, theta, multipliers, basis)
    full, _ = np.linalg.qr(basis, mode="complete")
    tangent = full[:, basis.shape[1] :]
    bent = tangent.T @ model.curvature(theta, multipliers) @ tangent
    rates, vectors = np.linalg.eigh(bent - np.eye(len(bent)))
    return rates[::-1], (tangent @ vectors)[:, ::-1]


def largest(model, theta, multipliers, basis):
    """The largest rates alone, by Lanczos' method."""

    def matvec(vector):
        normal = basis @ (basis.T @ vector)
        along = vector - normal
        bent = model.curvature_along(theta, multipliers, along) - along
        return bent - basis @ (basis.T @ bent) - BEHIND * normal

    start = np.random.default_rng(0).normal(size=theta.size)
    try:
        rates, vectors = eigsh(
            Symmetric(theta.size, matvec), k=KEPT, which="LA", v0=start,
            maxiter=RESTARTS,
            tol=1e-8,  # pyright: ignore[reportArgumentType] (default 0, an integer)
        )  # fmt: skip
    except ArpackNoConvergence as error:
        raise RatesUnknownError(
            f"Lanczos' method has found {len(error.eigenvalues)} of the {KEPT} largest "
            f"growth rates of deviations in {RESTARTS} restarts"
        ) from error
    order = np.argsort(-rates)
    return rates[order], vectors[:, order]


def column_space(normals):
    """An orthonormal basis of the span of some rows, as columns."""
    left, sizes, _ = np.linalg.svd(normals.T, full_matrices=False)
    return left[:, sizes > 1e-10 * sizes[0]]
