import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._point import Point
from .._polar import require_margins


def saliency(point: Point) -> Float[Array, "samples *features"]:
    r"""The gradient of each margin in its input, at norm one.

    $$s_i = \frac{\nabla_x\, y_i f(x_i; w)}{|\nabla_x f(x_i; w)|}$$

    It does not depend on the norm of the weights, so it converges if their direction
    does and the limit is a point where $f$ is differentiable in $x$.

    Args:
        point: Of a positively homogeneous network that classifies.

    Returns:
        One map of norm one a sample, shaped like the input. NaN where the gradient is
        zero. At a kink in $x$ it is the derivative that JAX takes.

    Raises:
        ValueError: As for `normalized`.

    Example:
        `curve.map(gflow.margins.saliency)`

    References:
        Simonyan, Vedaldi and Zisserman (2013), "Deep inside convolutional networks:
        visualising image classification models and saliency maps", arXiv:1312.6034.
        Ji and Telgarsky (2020), arXiv:2006.06657, for convergence.
    """
    require_margins(point)
    flow, direction = point.flow, point.direction

    def margin(x, y):
        return jnp.min(flow.sample_margins(direction, x, y))

    maps = jax.vmap(jax.grad(margin))(flow.x, flow.y)
    flat = maps.reshape(maps.shape[0], -1)
    return (flat / jnp.linalg.norm(flat, axis=1, keepdims=True)).reshape(maps.shape)
