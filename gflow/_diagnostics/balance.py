import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._types import Scalar
from ..nn import MLP, DeepLinear
from .layers import chained


def balance_matrices(
    network: PyTree, log_radius: Scalar | float | None = None
) -> tuple[Float[Array, "_width _width"], ...]:
    r"""$W_{k+1}^\top W_{k+1} - W_k W_k^\top$ for each layer and the next.

    Constant along every gradient flow of a product of matrices, whatever the loss: what
    drifts is the error of the integration, times $r^2$. Zero for a balanced start.

    Args:
        network: A network whose layers are matrices, in the order of evaluation.
        log_radius: $\log r$, to look at the network at this norm; by default its own.

    Returns:
        One symmetric matrix a pair of layers, none for a single layer. In units of
        $r^2$, so that rounding is about $10^{-16} r^2$; `inf` past $r = 10^{154}$.

    Raises:
        ValueError: If the shapes of the layers do not fit together.

    Example:
        `trajectory.map(gflow.balance_matrices, trajectory.log_radius)`

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032.
    """
    chain = chained(at_radius(network, log_radius), "balance_matrices")
    return tuple(
        after.T @ after - before @ before.T
        for before, after in itertools.pairwise(chain)
    )


def imbalance(network: PyTree, log_radius: Scalar | float | None = None) -> Scalar:
    r"""The constant $D$ that bounds how far linear layers are from rank one.

    $$D = \max_k \|W_k\|_F^2 - \|W_L\|_F^2
          + \sum_k \| W_k W_k^\top - W_{k+1}^\top W_{k+1} \|_2$$

    Along the flow of a deep linear network, with $D$ at its start,
    $\|W_k\|_F^2 - \|W_k\|_2^2 \leq D$ at all times.

    Args:
        network: A network whose layers are matrices, in the order of evaluation.
        log_radius: $\log r$, to look at the network at this norm; by default its own.

    Returns:
        A scalar, not negative; 0 if balanced.

    Raises:
        ValueError: If the shapes of the layers do not fit together.

    Example:
        `gflow.imbalance(network)` of the network that a flow starts from.

    References:
        Ji and Telgarsky (2018), "Gradient descent aligns the layers of deep linear
        networks", arXiv:1810.02032, where it is written $D$.
    """
    chain = chained(at_radius(network, log_radius), "imbalance")
    squares = jnp.stack([jnp.sum(matrix**2) for matrix in chain])
    gaps = balance_matrices(network, log_radius)
    norms = [jnp.linalg.norm(gap, ord=2) for gap in gaps]
    return jnp.max(squares) - squares[-1] + sum(norms)


def neuron_balance(
    network: PyTree, log_radius: Scalar | float | None = None
) -> tuple[Float[Array, " _width"], ...]:
    r"""$|W_k[j, :]|^2 - p\,|W_{k+1}[:, j]|^2$ for each hidden unit $j$.

    With $p$ the power of the activation (1 if there is none). Constant along every
    gradient flow, whatever the loss, since each unit is homogeneous in both.

    Args:
        network: A fully connected network of `gflow.nn`.
        log_radius: $\log r$, to look at the network at this norm; by default its own.

    Returns:
        One vector a hidden layer, in units of $r^2$; see `balance_matrices`.

    Raises:
        ValueError: If `network` is no `gflow.nn.MLP` or `gflow.nn.DeepLinear`.

    Example:
        `trajectory.map(gflow.neuron_balance, trajectory.log_radius)`

    References:
        Lyu and Li (2020), arXiv:1906.05890, for layers. Kumar and Haupt (2024), "Early
        directional convergence in deep homogeneous neural networks for small
        initializations", arXiv:2403.08121, for $p > 1$.
    """
    if not isinstance(network, MLP | DeepLinear):
        raise ValueError(
            "`network` must be a `gflow.nn.MLP` or `gflow.nn.DeepLinear`, whose units "
            f"are known, but is {type(network).__name__}."
        )
    power = network.power if isinstance(network, MLP) else 1
    chain = chained(at_radius(network, log_radius), "neuron_balance")
    return tuple(
        jnp.sum(before**2, axis=1) - power * jnp.sum(after**2, axis=0)
        for before, after in itertools.pairwise(chain)
    )


def at_radius(network: PyTree, log_radius: Scalar | float | None) -> PyTree:
    """The network at this norm, or as it is."""
    if log_radius is None:
        return network
    return _tree.scale(_tree.normalize(network), jnp.exp(log_radius))
