import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._flow import GradientFlow
from .._types import Scalar
from .polar import Polar


def alignment(
    flow: GradientFlow,
    network: PyTree,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " samples"] | None = None,
    subgradient: PyTree | None = None,
) -> Scalar:
    r"""The cosine of the angle between the weights and the negative gradient.

    $$\beta = \frac{\langle w, -\nabla \mathcal L(w) \rangle}
                   {|w| \, |\nabla \mathcal L(w)|}$$

    It tends to 1 along the flow of a network with locally Lipschitz gradients, and is 1
    at a KKT point of the max-margin problem. Near 1 its digits run out where `turning`,
    the tangent of the angle, still has them. At kinks of the network it takes the
    derivative that JAX takes, which need not be the shortest subgradient; pass that as
    `subgradient`.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: $\log r$, to look at the network at this norm; by default its own.
        weights: $q_i \propto -\ell'(z_i)$. By default they follow from the margins,
            as long as $r^L \leq 10^{10}$: an error of the direction enters $\log q$
            times $r^L$. Along a trajectory, give those of the trajectory.
        subgradient: $\sum_i q_i h_i$ with $h_i \in \partial z_i(\theta)$, in place of
            the derivative that JAX takes: at kinks, the `element` of
            `gflow.min_norm_subgradient` for the same weights.

    Returns:
        A scalar in [-1, 1]. NaN if all weights are zero, at a critical point, and past
        $r^L = 10^{10}$ if `weights` are not given.

    Example:
        `trajectory.map(lambda net, rho, q: gflow.alignment(flow, net, rho, q),
        trajectory.log_radius, trajectory.weights)`

    References:
        Ji and Telgarsky (2020), "Directional convergence and alignment in deep
        learning", arXiv:2006.06657. Lyu and Li (2020), arXiv:1906.05890, where it is
        written $\beta$.
    """
    view = Polar(flow, network, log_radius)
    along, across = view.pull(view.weights(weights), subgradient)
    return along / jnp.hypot(along, across)


def turning(
    flow: GradientFlow,
    network: PyTree,
    log_radius: Scalar | float | None = None,
    weights: Float[Array, " samples"] | None = None,
    subgradient: PyTree | None = None,
) -> Scalar:
    r"""The tangent of the angle between the weights and the negative gradient.

    $$|\mathrm d\theta / \mathrm d\log r| = \tan \angle(w, -\nabla \mathcal L(w))
      = \sqrt{\beta^{-2} - 1}$$

    How fast the direction turns against the growth of the norm; it has all its digits
    where the `alignment` $\beta$ rounds to 1.

    Args:
        flow: Data and loss.
        network: A positively homogeneous network.
        log_radius: As for `alignment`.
        weights: As for `alignment`.
        subgradient: As for `alignment`.

    Returns:
        A scalar, not negative. NaN where the norm does not grow
        ($\beta \leq 0$), and where `alignment` is NaN.

    Example:
        `trajectory.map(lambda net, rho, q: gflow.turning(flow, net, rho, q),
        trajectory.log_radius, trajectory.weights)`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    view = Polar(flow, network, log_radius)
    along, across = view.pull(view.weights(weights), subgradient)
    return jnp.where(along > 0, across / along, jnp.nan)
