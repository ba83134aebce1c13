r"""Scalars along a step, physical time above all.

$\mathrm dt/\mathrm ds = e^{\varphi}$ with $\varphi = -\log (G \Lambda) - (L-2)\rho$
(see `_frame`). On one step $\varphi$ may grow by $10^{30}$, and then only the last
$1/\varphi'$ of the step counts; so the panels of the quadrature shrink geometrically
toward both ends, and everything stays a logarithm. What is interpolated is
$-\log (G \Lambda)/(1 + R)$, the smoothed margin where $R$ is large, and $\rho$: both
change slowly. (For a loss with tail $\beta$ it is $R^\beta$ in place of $R$; in weight
space it is 1.)

All of it runs on JAX arrays inside the loop, and on NumPy arrays after it, where it
need not be compiled.
"""

import dataclasses
import math
from collections.abc import Iterable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._field import LOG_HUGE, Field
from ._types import AnyArray, Scalar


NODES = np.linspace(0, 1, 5)
"""The fractions of a step at which its dense output is kept."""

RATE_NODES = np.linspace(0, 1, 7)
"""The fractions at which margins are taken for the scalars: more, since time asks for
their rate to eight digits."""

TIME_ERROR = 1e-4
"""What the coefficient after the last is taken to count in the error of log t: a third
of what it can, since its own estimate was found far too large on toy problems."""

STAYS = 30.0
"""A logarithm of the loss that is smaller than this all over a step is a polynomial
itself: either the radius is small too, or the loss does not fall with it."""

_GAUSS, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(8)
_HALF = np.append(0.5 ** np.arange(1, 51), 0.0)[::-1]


def gauss_rule(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and log-weights of a Gauss-Legendre rule on each of several panels."""
    width = np.diff(edges)[:, None]
    points = edges[:-1, None] + width * (_GAUSS + 1) / 2
    return points.ravel(), np.log((width * _GAUSS_WEIGHTS / 2).ravel())


# Panels that halve toward both ends of a step.
_POINTS, _LOG_WEIGHTS = gauss_rule(np.concatenate([_HALF, 1 - _HALF[-2::-1]]))


def _end_exact(nodes: np.ndarray) -> np.ndarray:
    """From the basis of `_weights` to interpolation weights at these nodes."""
    inside = nodes[1:-1]
    line = np.stack([1 - inside, inside], axis=1)
    scale = (inside * (1 - inside))[:, None]
    fit = np.linalg.inv(np.vander(inside, increasing=True) * scale)
    table = np.zeros((nodes.size, nodes.size))
    table[0, 0], table[1, 0], table[1, -1] = 1, -1, 1
    table[2:, 1:-1] = fit
    table[2:, [0, -1]] = -fit @ line
    return table


_TABLES = {nodes.size: _end_exact(nodes) for nodes in (NODES, RATE_NODES)}
_POWERS = np.arange(1, NODES.size)
_SLOPES = _POWERS * RATE_NODES[:, None] ** (_POWERS - 1)
_SLOPES = _SLOPES @ np.linalg.inv(np.vander(NODES, increasing=True))[1:]
_HIGHEST = np.linalg.inv(np.vander(RATE_NODES, increasing=True))[-2:]


def _weights(fraction, size: int):
    """Weights of the values at equidistant nodes, at fractions along a new last axis.

    The basis is 1, s, and s (1 - s) times the powers of s: at both ends of a step a
    value comes back to the last bit.
    """
    inner = fraction * (1 - fraction)
    basis = [fraction**0, fraction]
    basis += [inner * fraction**k for k in range(size - 2)]
    # Not by a matrix product, whose rounding depends on how many fractions there are.
    table = _TABLES[size].reshape(size, *(1,) * len(fraction.shape), size)
    return _total(b[..., None] * row for b, row in zip(basis, table, strict=True))


def _total(terms: Iterable[AnyArray]) -> AnyArray:
    """The sum of some arrays, at least one, in their order."""
    total = sum(terms)
    assert not isinstance(total, int)
    return total


def slopes(values: Float[Array, "5 n"]) -> Float[Array, "7 n"]:
    """The derivatives at the `RATE_NODES` of the quartic through values at the `NODES`.

    Per step, not per unit of its clock.
    """
    return jnp.asarray(_SLOPES) @ values


class StepScalars(eqx.Module):
    r"""Scalars on one step of the clock, or on a stack of them.

    The last axis holds values at the `RATE_NODES`, through which polynomials run.

    Attributes:
        length: The length of the step in $s$.
        log_radius: $\rho$.
        rate: $\log(\mathrm dt/\mathrm ds) / (1 + R)$, but for `power`.
        loss: $-\log \mathcal L / (1 + R)$; where the loss no longer falls with the
            radius, as once a sample is lost, $-\log \mathcal L / 2$.
        tau_rate: $\log(\mathrm d\tau/\mathrm ds)$; not used where $\tau$ is a function
            of time.
        degree: The degree $L$.
        exponent: Of the radius in $R$.
        loss_exponent: Likewise for the loss; or zero.
        power: Of the radius in the rate.
    """

    length: Float[AnyArray, "*steps"]
    log_radius: Float[AnyArray, "*steps 7"]
    rate: Float[AnyArray, "*steps 7"]
    loss: Float[AnyArray, "*steps 7"]
    tau_rate: Float[AnyArray, "*steps 7"]
    degree: Float[AnyArray, "*steps"]
    exponent: Float[AnyArray, "*steps"]
    loss_exponent: Float[AnyArray, "*steps"]
    power: Float[AnyArray, "*steps"]

    def ending(self, log_loss: Scalar) -> "StepScalars":
        """A step with another loss at its end, where it goes without turning."""
        log_scale = self.loss_exponent * jnp.asarray(self.log_radius)[-1]
        end = -log_loss / (1 + jnp.exp(jnp.minimum(log_scale, LOG_HUGE)))
        loss = jnp.asarray(self.loss)
        # The last power that the polynomial has. Of this, not of the loss: over a step
        # where the radius grows by e^60 that has another size at each of its points.
        more = jnp.where(jnp.isfinite(end - loss[-1]), end - loss[-1], 0.0)
        loss = loss + more * RATE_NODES ** (RATE_NODES.size - 1)
        loss = loss.at[-1].set(end)
        return dataclasses.replace(self, loss=loss)

    def log_rate(self, fraction: Float[AnyArray, "*steps points"]):
        r"""$\varphi = \log(\mathrm dt/\mathrm ds)$ at fractions of the step."""
        rho = _evaluate(self.log_radius, fraction)
        log_scale = self.exponent[..., None] * rho
        rate = _magnified(self.rate, fraction, log_scale)
        return rate - self.power[..., None] * rho

    def log_tau_rate(self, fraction: Float[AnyArray, "*steps points"]):
        r"""$\log(\mathrm d\tau/\mathrm ds)$ at fractions of the step."""
        return _evaluate(self.tau_rate, fraction)

    def log_radius_at(
        self, fraction: Float[AnyArray, "*steps"]
    ) -> Float[AnyArray, "*steps"]:
        r"""$\rho$ after this fraction of the step."""
        return _evaluate(self.log_radius, fraction[..., None])[..., 0]

    def log_elapsed(
        self, fraction: Float[AnyArray, "*steps"]
    ) -> Float[AnyArray, "*steps"]:
        r"""$\log \int \mathrm dt$ over this first fraction of the step."""
        return self._log_integral(self.log_rate, fraction)

    def log_tau_elapsed(self, fraction: Float[AnyArray, "*steps"]):
        r"""$\log \int \mathrm d\tau$ over this first fraction of the step."""
        return self._log_integral(self.log_tau_rate, fraction)

    def _log_integral(self, log_rate, fraction):
        xp = fraction.__array_namespace__()
        values = log_rate(fraction[..., None] * _POINTS) + _LOG_WEIGHTS
        top = xp.max(values, axis=-1)
        total = xp.sum(xp.exp(values - top[..., None]), axis=-1)
        # Not of their product, which may underflow.
        found = xp.log(self.length) + xp.log(fraction) + top + xp.log(total)
        return xp.where(top == math.inf, math.inf, found)

    def log_loss(
        self,
        fraction: Float[AnyArray, "*steps"],
        log_radius: Float[AnyArray, "*steps"] | None = None,
    ) -> Float[AnyArray, "*steps"]:
        r"""$\log \mathcal L$ after this fraction of the step, where $\rho$ is this."""
        rho = self.log_radius_at(fraction) if log_radius is None else log_radius
        log_scale = (self.loss_exponent * rho)[..., None]
        return -_magnified(self.loss, fraction[..., None], log_scale)[..., 0]

    def first(self, fraction: Float[AnyArray, "*steps"]) -> "StepScalars":
        """The first fraction of the step, as a step."""
        points = fraction[..., None] * RATE_NODES
        return StepScalars(
            self.length * fraction,
            _evaluate(self.log_radius, points),
            _evaluate(self.rate, points),
            _evaluate(self.loss, points),
            _evaluate(self.tau_rate, points),
            self.degree,
            self.exponent,
            self.loss_exponent,
            self.power,
        )


def _evaluate(values, fraction):
    """The polynomials through values at the `RATE_NODES`, at fractions of the step."""
    first, last = values[..., :1], values[..., -1:]
    # Not by a matrix product, whose rounding depends on how many steps there are.
    inner = (values[..., None, :] * _TABLES[RATE_NODES.size][2:]).sum(axis=-1)
    bend = inner[..., -1:]
    for k in reversed(range(inner.shape[-1] - 1)):
        bend = inner[..., k, None] + fraction * bend
    # At both ends of a step a value comes back to the last bit.
    return (1 - fraction) * first + fraction * (last + (1 - fraction) * bend)


def _magnified(values, fraction, log_scale):
    """(1 + R) times a scalar."""
    xp = fraction.__array_namespace__()
    return (1 + xp.exp(xp.minimum(log_scale, LOG_HUGE))) * _evaluate(values, fraction)


def step_scalars(
    field: Field,
    length: Scalar,
    log_radius: Float[Array, " 7"],
    log_rate: Float[Array, " 7"],
    log_loss: Float[Array, " 7"],
    log_tau_rate: Float[Array, " 7"],
) -> StepScalars:
    """The step with these values at the `RATE_NODES`; `log_rate` but for `power`."""
    stays = jnp.max(jnp.abs(log_loss)) < STAYS
    falls = jnp.where(stays, 0.0, field.exponent)
    growth, lasting = (
        1 + jnp.exp(jnp.minimum(exponent * log_radius, LOG_HUGE))
        for exponent in (field.exponent, falls)
    )
    rate, loss = log_rate / growth, -log_loss / lasting
    constants = field.degree, field.exponent, falls, field.coordinates.growth_power
    return StepScalars(length, log_radius, rate, loss, log_tau_rate, *constants)


def time_error(scalars: StepScalars, log_t: Scalar, log_elapsed: Scalar) -> Scalar:
    """The error of log t over a step, relative where log t is large.

    Where the direction rests (balanced weights), nothing else bounds the step. The
    coefficients of the rate are taken to go on falling as the last two do.
    """
    before, last = jnp.abs(_HIGHEST @ scalars.rate)
    after = last * jnp.minimum(1.0, last / jnp.maximum(before, 1e-300))
    log_scale = scalars.exponent * jnp.asarray(scalars.log_radius)[-1]
    slip = (1 + jnp.exp(jnp.minimum(log_scale, LOG_HUGE))) * TIME_ERROR * after
    error = slip * jnp.exp(log_elapsed - log_t) / jnp.maximum(jnp.abs(log_t), 1.0)
    return jnp.where(jnp.isfinite(error), error, 0.0)


def interpolate(
    values: Float[AnyArray, "steps 5 n"], fraction: Float[AnyArray, " steps"]
):
    """The quartics through values at the `NODES`, at one fraction of each step."""
    weights = _weights(fraction, NODES.size)
    return _total(weights[:, k, None] * values[:, k] for k in range(NODES.size))


def log_add(a: Float[AnyArray, "*shape"], b: Float[AnyArray, "*shape"]):
    """`logaddexp` that keeps an infinite sum infinite."""
    xp = b.__array_namespace__()
    finite = xp.logaddexp(xp.minimum(a, 1e308), xp.minimum(b, 1e308))
    return xp.where((a >= 1e308) | (b >= 1e308), math.inf, finite)
