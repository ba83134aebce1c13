import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .. import _tree
from .._flow import GradientFlow


def saliency(flow: GradientFlow, network: PyTree) -> Float[Array, "samples *features"]:
    r"""The gradient of each margin in its input, at norm one.

    $$s_i = \frac{\nabla_x\, y_i f(x_i; w)}{|\nabla_x f(x_i; w)|}$$

    It does not depend on the norm of the weights, so it converges if their direction
    does and the limit is a point where $f$ is differentiable in $x$.

    Args:
        flow: Data and loss; the loss plays no part.
        network: A positively homogeneous network, of any norm.

    Returns:
        One map of norm one a sample, shaped like the input. NaN where the gradient is
        zero. At a kink in $x$ it is the derivative that JAX takes.

    Example:
        `trajectory.map(lambda net: gflow.saliency(flow, net))`

    References:
        Simonyan, Vedaldi and Zisserman (2013), "Deep inside convolutional networks:
        visualising image classification models and saliency maps", arXiv:1312.6034.
        Ji and Telgarsky (2020), arXiv:2006.06657, for convergence.
    """
    direction = _tree.normalize(network)

    def margin(x, y):
        return jnp.min(flow.sample_margins(direction, x, y))

    maps = jax.vmap(jax.grad(margin))(flow.x, flow.y)
    flat = maps.reshape(maps.shape[0], -1)
    return (flat / jnp.linalg.norm(flat, axis=1, keepdims=True)).reshape(maps.shape)
