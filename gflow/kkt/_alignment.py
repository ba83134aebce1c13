import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._point import Point
from .._polar import Polar, jacobian, require_margins
from .._types import Scalar


def alignment(point: Point, subgradient: PyTree | None = None) -> Scalar:
    r"""The cosine of the angle between the weights and the negative gradient.

    $$\beta = \frac{\langle w, -\nabla \mathcal L(w) \rangle}
                   {|w| \, |\nabla \mathcal L(w)|}$$

    It tends to 1 along the flow of a network with locally Lipschitz gradients, and is 1
    at a KKT point of the max-margin problem. Near 1 its digits run out where `turning`,
    the tangent of the angle, still has some. Where a curve slides along kinks it is
    that of its motion. Other points at kinks have recorded none: they take the
    derivative that JAX takes, unless the shortest one is passed as `subgradient`.

    Args:
        point: Of a positively homogeneous network that classifies.
        subgradient: $\sum_i q_i h_i$ with $h_i \in \partial z_i(\theta)$, in place of
            what the flow follows, such as the `element` of
            `gflow.kkt.min_norm_subgradient` of this point.

    Returns:
        A scalar in [-1, 1]. NaN at a critical point, and where `point.weights` are.

    Raises:
        ValueError: If the network has no degree, or the flow is one of regression.

    Example:
        `curve.map(gflow.kkt.alignment)`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657. Lyu and Li (2020), arXiv:1906.05890, where it is
        written $\beta$.
    """
    along, across = Polar(point).pull(subgradient)
    return along / jnp.hypot(along, across)


def turning(point: Point, subgradient: PyTree | None = None) -> Scalar:
    r"""The tangent of the angle between the weights and the negative gradient.

    $$|\mathrm d\theta / \mathrm d\log r| = \tan \angle(w, -\nabla \mathcal L(w))
      = \sqrt{\beta^{-2} - 1}$$

    How fast the direction turns against the growth of the norm; it has digits where
    the `alignment` $\beta$ rounds to 1, down to the error of $q$, some 1e-12.

    Args:
        point: Of a positively homogeneous network that classifies.
        subgradient: As for `alignment`.

    Returns:
        A scalar, not negative. NaN where the norm does not grow
        ($\beta \leq 0$), and where `alignment` is NaN.

    Raises:
        ValueError: As for `alignment`.

    Example:
        `curve.map(gflow.kkt.turning)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    along, across = Polar(point).pull(subgradient)
    return jnp.where(along > 0, across / along, jnp.nan)


def gradient_alignments(point: Point) -> Float[Array, " margins"]:
    r"""The cosine of the angle between the weights and the gradient of each margin.

    $$\cos \angle(w, \nabla z_i) = \frac{L z_i(\theta)}{|\nabla z_i(\theta)|}$$

    by Euler's identity. All are below 1 in general: it is their mixture by $q$ whose
    cosine, `alignment`, tends to 1.

    Args:
        point: Of a positively homogeneous network that classifies.

    Returns:
        One cosine each margin. NaN where a gradient is zero, as for a sample that no
        unit sees.

    Raises:
        ValueError: As for `alignment`.

    Example:
        `curve.map(gflow.kkt.gradient_alignments)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for Euler's identity.
    """
    require_margins(point)
    _, gradients = jacobian(point)
    theta = ravel_pytree(_tree.parameters(point.direction))[0]
    return gradients @ theta / jnp.linalg.norm(gradients, axis=1)
