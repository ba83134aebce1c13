"""Points of networks, and of trees of arrays that need not be one."""

import math

import gflow
import jax.numpy as jnp
import numpy as np
from gflow import _tree


FLOW = gflow.GradientFlow(gflow.Exponential(), np.array([[1.0], [-1.0]]), [1.0, -1.0])


def there(network, log_radius=None):
    """The point of a tree, by default at its own norm; nothing is evaluated."""
    own = jnp.log(_tree.norm(network)) if log_radius is None else log_radius
    never = jnp.asarray(math.nan)
    direction = _tree.normalize(network)
    return gflow.Point(FLOW, direction, own, never, never, jnp.ones(2) / 2, 1.0)


def start_of(field, network):
    """The point and log-radius where the flow of a network starts."""
    return field.coordinates.start(_tree.vector(network))
