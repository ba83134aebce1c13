"""How fast weights, loss and time of a curve change, by its flow alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from .. import _tree
from .._compile import compiled
from .._point import Point
from .._trajectory import Trajectory
from ..clocks import AbstractClock, AbstractTimeClock, Speeds
from ._stacks import directions
from ._velocity import velocities


Rates = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def rates_of(samples: Trajectory) -> Rates:
    r"""What the flow says of samples of a curve.

    Returns:
        $\mathrm d w$ and $\mathrm d \log \mathcal L$ over $\mathrm d \tau$, and
        $\log (\mathrm d t / \mathrm d \tau)$. Of a clock of time the first two over
        $\mathrm d \log t$, and no third. No second for norms but the Euclidean one.
    """
    field = samples.field
    log_t, log_loss = np.asarray(samples.log_t), np.asarray(samples.log_loss)
    of_time = isinstance(field.clock, AbstractTimeClock)
    if of_time:
        log_dt, moved = log_t, _velocities(samples, log_t)
    else:
        log_radius = np.asarray(samples.log_radius)
        slope = -float(field.coordinates.growth_power) * log_radius
        log_time = slope - _log_pull(samples)
        by_sigma = _velocities(samples, log_time)
        length = np.log(np.linalg.norm(by_sigma, axis=1))
        rows = np.stack([log_radius, log_loss, log_time, slope, length], axis=1)
        log_rate = np.asarray(compiled(_log_rates)(field.clock, jnp.asarray(rows)))
        log_dt, moved = log_time - log_rate, by_sigma * np.exp(-log_rate)[:, None]
    fallen = None
    if field.euclidean and samples.flow.kind != "targets":
        # |dw/dt|^2 is (dw/dtau)^2 over (dt/dtau)^2; in logarithms, for it may be huge.
        with np.errstate(divide="ignore"):
            square = 2 * np.log(np.linalg.norm(moved, axis=1))
        fallen = -np.exp(square - log_dt - log_loss)
    return moved, fallen, None if of_time else log_dt


def _velocities(samples: Trajectory, log_time: np.ndarray) -> np.ndarray:
    """dw/dt times exp(log_time)."""
    network = samples[0].direction
    unit = float(jnp.linalg.norm(ravel_pytree(_tree.parameters(network))[0]))
    w = directions(samples) * np.exp(np.asarray(samples.log_radius))[:, None]
    found = velocities(
        jnp.asarray(log_time), jnp.asarray(w / unit), samples.flow, network
    )
    return unit * np.asarray(found)


def _log_pull(samples: Trajectory) -> np.ndarray:
    """The logarithm of G, the mean pull."""
    logs = np.asarray(samples.map(_log_weights))
    return np.logaddexp.reduce(logs, axis=1) - np.log(samples.flow.samples)


def _log_weights(point: Point):
    return point.flow.log_weights(point.margins)


def _log_rates(clock: AbstractClock, rows):
    def one(row):
        return clock.log_rate(Speeds(*row))

    return jax.vmap(one)(rows)
