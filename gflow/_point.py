"""One point of a curve: what every diagnostic is a function of."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree

from . import _tree
from ._checks import require_concrete
from ._compile import compiled
from ._degree import NotHomogeneousError, degree as find_degree
from ._field import LOG_HUGE, SCALE_CAP
from ._flow import AbstractFlow
from ._gates import Kinks, find_kinks_of, record
from ._logs import log_mean_exp
from ._text import table
from ._types import Scalar


class Point(eqx.Module):
    r"""A network as its flow sees it: $w = e^\rho\, \theta$, and what follows from it.

    `curve[i]` is one, and `gflow.point` makes one of any network. Diagnostics are
    functions of it, and `curve.map` applies them all along a curve.

    Attributes:
        flow: Data and loss.
        direction: The network with weights $\theta$, of norm one.
        log_radius: $\rho = \log |w|$.
        log_t: Logarithm of physical time; NaN for a network on no curve.
        log_loss: Logarithm of the mean loss.
        weights: The pull $q$ of each margin on the flow, summing to one: the dual
            weights. Under the square loss, minus the errors.
        degree: The degree $L$ of homogeneity, `None` if there is none.
        kinks: What kinks the network has on one sample; `None` where not yet known.
        sides: The gates that the curve has recorded, if it has,
        slides: and the numbers of the kinks that it slides along there, sample by
            sample; -1 where there are fewer.
    """

    flow: AbstractFlow
    direction: PyTree
    log_radius: Scalar
    log_t: Scalar
    log_loss: Scalar
    weights: Float[Array, " margins"]
    degree: float | None = eqx.field(static=True)
    kinks: Kinks | None = eqx.field(static=True, default=None)
    sides: Bool[Array, "samples kinks"] | None = None
    slides: Int[Array, " most"] | None = None

    def __repr__(self) -> str:
        """What the network is, where it is, and how it fits."""
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(self)):
            return "Point(...)"  # inside of a compiled function
        rows = followed(self.flow, self.direction, self.degree) | {
            "log t": f"{float(self.log_t):.6g}",
            "log radius": f"{float(self.log_radius):.6g}",
            "log loss": f"{float(self.log_loss):.6g}",
        }
        return table("Point", rows)

    @property
    def network(self) -> PyTree:
        r"""The network at its own scale; infinite past $\rho = 709$."""
        return _tree.scale(self.direction, jnp.exp(jnp.asarray(self.log_radius)))

    @property
    def margins(self) -> Float[Array, " margins"]:
        r"""The margins $z(w)$, `flow.margins(network)`; infinite past $L\rho = 709$.

        Under the square loss, the errors.
        """
        if self.degree is None or self.flow.kind == "targets":
            return self.flow.margins(self.network)
        scale = jnp.exp(self.degree * jnp.asarray(self.log_radius))
        return scale * self.flow.margins(self.direction)

    @property
    def gates(self) -> Bool[Array, "samples kinks"]:
        """The side of each kink of each sample, as `Trajectory.gates` has them."""
        if self.sides is not None:
            return self.sides
        sample, network = self.flow.sample_margins, self.direction
        kinks = self.known_kinks()

        def gates(x, y):
            return record(sample, kinks, network, x, y)[1]

        return jax.vmap(gates)(self.flow.x, self.flow.y)

    def known_kinks(self) -> Kinks:
        """The kinks of the margins of one sample, looked for where not yet known."""
        if self.kinks is not None:
            return self.kinks
        flow = self.flow
        return find_kinks_of(flow.sample_margins, self.direction, flow.x, flow.y)


def followed(flow: AbstractFlow, network: PyTree, degree: float | None) -> dict:
    """What is followed, in words."""
    known = "no degree" if degree is None else f"degree {degree:g}"
    return {
        "flow": f"{type(flow).__name__}, {type(flow.loss).__name__}, "
        f"{flow.samples} samples of shape {flow.x.shape[1:]}",
        "network": f"{type(network).__name__}, {known}",
    }


def require_point(point: Point) -> None:
    """Refuse what is no point.

    Raises:
        ValueError: If it is none, such as a curve.
    """
    if not isinstance(point, Point):
        raise ValueError(
            f"`point` must be a `gflow.Point`, but is a {type(point).__name__}. Of a "
            "curve take one point, as `curve[-1]`, or `curve.map` this function over "
            "all; of a network make one by `gflow.point(flow, network)`."
        )


def point(
    flow: AbstractFlow,
    network: PyTree,
    *,
    log_radius: float | None = None,
    weights: Float[Array, " margins"] | None = None,
) -> Point:
    r"""A network as a point, for diagnostics.

    Args:
        flow: Data and loss.
        network: Of any norm.
        log_radius: $\log |w|$, to look at it at this norm; by default its own.
        weights: $q$, one each margin. By default they follow from the margins, as long
            as $r^L \leq 10^{10}$: an error of the direction enters $\log q$ times
            $r^L$. Past that they are NaN; points of a trajectory have them everywhere.

    Returns:
        The point.

    Raises:
        ValueError: If `flow` is no flow, or `network` cannot be evaluated, as in
            `degree`.
        TypeError: Inside of `jit`, `vmap` or `grad`.

    Example:
        `gflow.margins.normalized(gflow.point(flow, network))`
    """
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            "`flow` must be a `gflow.GradientFlow` or `gflow.SteepestFlow`, but is "
            f"{flow!r}."
        )
    require_concrete((flow, network, log_radius, weights), "gflow.point")
    try:
        degree = find_degree(network, flow.x)
    except NotHomogeneousError:
        degree = None
    given = None if log_radius is None else jnp.asarray(np.float64(log_radius))
    found = compiled(measured)(flow, network, given, degree)
    direction, own, log_loss, q = found
    q = q if weights is None else jnp.asarray(weights) / jnp.sum(jnp.asarray(weights))
    never = jnp.asarray(np.float64(math.nan))
    return Point(flow, direction, own, never, log_loss, q, degree)


def measured(
    flow: AbstractFlow, network: PyTree, log_radius: Scalar | None, degree: float | None
) -> tuple[PyTree, Scalar, Scalar, Float[Array, " margins"]]:
    """Direction, log-radius, log-loss and dual weights of a network."""
    direction = _tree.normalize(network)
    own = jnp.log(_tree.norm(network)) if log_radius is None else log_radius
    if degree is None or flow.kind == "targets":
        log_scale = jnp.zeros(())
        margins = flow.margins(_tree.scale(direction, jnp.exp(own)))
    else:
        log_scale = degree * own
        margins = flow.margins(direction)
    most = LOG_HUGE / max(flow.loss.tail, 1.0)
    log_losses = flow.log_losses(jnp.exp(jnp.minimum(log_scale, most)) * margins)
    if flow.kind == "targets":
        return direction, own, log_mean_exp(log_losses), -margins
    known = log_scale <= math.log(SCALE_CAP) / flow.loss.tail
    scale = jnp.exp(jnp.where(known, log_scale, jnp.nan))
    q = jax.nn.softmax(flow.log_weights(scale * margins))
    return direction, own, log_mean_exp(log_losses), q
