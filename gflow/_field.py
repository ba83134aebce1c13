r"""The flow of one network as solvers see it: a point, its dual weights, its motion.

The dual weights $q$ of the margins are unknowns beside the point $x$, and

$$x' = J(x)^\top q .$$

Where the network is homogeneous and classifies, $w = e^\rho x$ with $|x| = 1$ at the
start of each step and $q$ lies on the simplex: only $R = e^{L\rho}$, the scale of the
margins, knows how large the weights are. Else $x$ is $w$ itself. Under the square loss
$q$ is minus the errors.
"""

import dataclasses
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from . import _tree
from ._flow import AbstractFlow
from ._logs import log_mean_exp
from ._norms import AbstractNorm, L2Norm
from ._switches import switches
from ._types import Scalar
from ._units import Units, find_units
from .nn._plain_kinks import has_kinks


SCALE_CAP = 1e10
"""The largest R max|z| that the dual weights see (to the power of the tail of the
loss). Rounding in z is 1e-16 of it, and R times that enters log q: with more support
samples than directions 1e13 stalls and 1e10 runs (found by trial on toy problems). It
moves the direction by about 1e-10."""

MILD = 15.0
"""Below this R max|z| the dual weights are a function of the point; above, unknowns of
their own. At rest differences of stored ones would carry rounding into the weights."""

LOG_HUGE = 709.0
LOG_MOST = 575.0
"""exp of more than this overflows: beyond, times and losses are infinite."""

LEAST_LOSS = -1500.0
"""The logarithm of a square loss that is zero to the last bit."""

CLOCKS = ("polar", "loss", "arc_length", "log_time", "time")
TIMES = ("log_time", "time")


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an array, as a leaf of a tree."""

    sizes: tuple[int, ...]


class Field(eqx.Module):
    r"""The vector field of one network's flow.

    Attributes:
        flow: Data and loss.
        degree: The degree $L$ of homogeneity, NaN if there is none.
        shapes: The shapes of the arrays of weights.
        structure: All else of the network.
        units: The blocks of weights that errors are relative to.
        norm: In which the flow is steepest.
        polar: Whether the point is kept at norm one beside a log-radius.
        clock: What `tau` counts, one of `CLOCKS`.
        kinked: Whether the network has kinks.
        walled: Whether a sample may be lost slowly, as by squared ReLUs.
    """

    flow: AbstractFlow
    degree: Scalar
    shapes: PyTree
    structure: PyTree
    units: Units
    norm: AbstractNorm
    polar: bool = eqx.field(static=True)
    clock: str = eqx.field(static=True)
    kinked: bool = eqx.field(static=True)
    walled: bool = eqx.field(static=True)

    def __init__(self, flow: AbstractFlow, network: PyTree, clock: str, degree: float):
        moving, self.structure = _tree.partition(network)
        self.shapes = jax.tree.map(lambda leaf: Shape(leaf.shape), moving)
        self.flow = flow
        self.degree = jnp.asarray(np.float64(degree))
        self.units = find_units(network)
        self.norm = flow.norm_of(tuple(s.sizes for s in jax.tree.leaves(self.shapes)))
        self.polar = (
            not math.isnan(degree) and flow.kind != "targets" and self.euclidean
        )
        self.clock = clock
        self.kinked = has_kinks(network, flow.x[0])
        slow = self.euclidean and not self.free
        self.walled = slow and switches(network, flow.x[0])

    @property
    def free(self) -> bool:
        """Whether dual weights are minus the errors, not a point of the simplex."""
        return self.flow.kind == "targets"

    @property
    def euclidean(self) -> bool:
        """Whether the motion is linear in the dual weights."""
        return isinstance(self.norm, L2Norm)

    @property
    def growth_power(self) -> Scalar:
        r"""The polar clock runs at $|x|$ to this power."""
        return self.degree - 2 if self.polar else jnp.zeros(())

    @property
    def exponent(self) -> Scalar:
        r"""Far out the loss is $\exp(-r^{\text{exponent}})$; 0 if not known."""
        return self.degree * self.flow.loss.tail if self.polar else jnp.zeros(())

    def network(self, points: Float[Array, "*times weights"]) -> PyTree:
        """The network whose parameters are this vector, or a stack of them."""
        leaves, tree = jax.tree.flatten(self.shapes)
        ends = np.cumsum([math.prod(leaf.sizes) for leaf in leaves])[:-1]
        parts = points.__array_namespace__().split(points, ends, axis=-1)
        shaped = [
            part.reshape(*points.shape[:-1], *leaf.sizes)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return eqx.combine(jax.tree.unflatten(tree, shaped), self.structure)

    def margins(self, point: Float[Array, " weights"]) -> Float[Array, " margins"]:
        """The margins at this point, for log-radius 0; errors under the square loss."""
        return self.flow.margins(self.network(point))

    def jacobian(
        self, point: Float[Array, " weights"]
    ) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
        """Margins and their derivatives, for the cost of one gradient a margin."""
        return margin_jacobian(self.flow, self.network, point)

    def negative_gradient(
        self, point: Float[Array, " weights"], dual: Float[Array, " margins"]
    ) -> tuple[Float[Array, " margins"], Float[Array, " weights"]]:
        r"""The margins, and $J^\top q$ (or what is steepest in another norm)."""
        margins, pullback = jax.vjp(self.margins, point)
        return margins, self.norm.direction(pullback(dual)[0])

    def bend_each(
        self,
        point: Float[Array, " weights"],
        directions: Float[Array, "margins weights"],
    ) -> Float[Array, "margins weights"]:
        """The Hessian of each margin times a direction of its own."""
        flow = self.flow

        def one(x, y, rows):
            def gradients(point):
                def margins(p):
                    return flow.sample_margins(self.network(p), x, y)

                return jax.jacrev(margins)(point)

            def each(row, index):
                return jax.jvp(gradients, (point,), (row,))[1][index]

            return jax.vmap(each)(rows, jnp.arange(flow.rivals))

        rows = directions.reshape(flow.samples, flow.rivals, point.size)
        return jax.vmap(one)(flow.x, flow.y, rows).reshape(directions.shape)

    def scale(self, margins: Float[Array, " margins"], log_radius: Scalar) -> Scalar:
        """$R$, capped by `SCALE_CAP`, for margins of this size."""
        log_scale = self.degree * log_radius if self.polar else jnp.zeros(())
        cap = math.log(SCALE_CAP) / self.flow.loss.tail
        cap = cap - jnp.log(jnp.maximum(jnp.max(jnp.abs(margins)), 1e-290))
        return jnp.exp(jnp.minimum(log_scale, cap))

    def mild(self, margins: Float[Array, " margins"], scale: Scalar) -> Bool[Array, ""]:
        """Whether the dual weights are a tame function of the margins."""
        if self.free:
            return jnp.asarray(True)
        return scale * jnp.max(jnp.abs(margins)) < MILD

    def dual_weights(
        self,
        margins: Float[Array, " margins"],
        log_radius: Scalar,
        seen: Bool[Array, " margins"],
        held: Bool[Array, " margins"] | None = None,
    ) -> Float[Array, " margins"]:
        """$q$ at these margins; past R = 1e16 it has no digits.

        Its sum over the margins that are `seen` is one. Those that are `held` have
        theirs in proportion, and the others none.
        """
        if self.free:
            return -margins
        logs = self.flow.log_weights(self.scale(margins, log_radius) * margins)
        q = jax.nn.softmax(jnp.where(seen, logs, -jnp.inf))
        if held is None:
            return q
        total = jax.nn.logsumexp(jnp.where(seen, logs, -jnp.inf))
        return jnp.where(held, jnp.exp(jnp.minimum(logs - total, LOG_MOST)), q)

    def pull_sizes(self, dual: Float[Array, " margins"]) -> Float[Array, " margins"]:
        """The sizes of the pulls of the samples, whose rounding is relative to them.

        Dual weights have digits; errors are differences, as accurate as the targets.
        """
        sizes = jnp.abs(dual)
        return sizes + jnp.abs(jnp.ravel(self.flow.y)) if self.free else sizes

    def log_slope_and_loss(
        self,
        margins: Float[Array, " margins"],
        log_radius: Scalar,
        seen: Bool[Array, " margins"],
    ) -> tuple[Scalar, Scalar]:
        r"""$\log G$, over the margins that are seen, and $\log \mathcal L$."""
        flow = self.flow
        largest = LOG_HUGE / max(flow.loss.tail, 1.0)
        log_scale = self.degree * log_radius if self.polar else jnp.zeros(())
        scaled = jnp.exp(jnp.minimum(log_scale, largest)) * margins
        log_losses = flow.log_losses(scaled)
        if self.free:
            log_losses = jnp.maximum(log_losses, LEAST_LOSS)
        log_loss = log_mean_exp(log_losses)
        if self.free:
            return jnp.asarray(-math.log(flow.samples)), log_loss
        logs = jnp.where(seen, flow.log_weights(scaled), -jnp.inf)
        return log_mean_exp(logs) + math.log(flow.rivals), log_loss


def seen_margins(
    field: Field, jacobian: Float[Array, "margins weights"]
) -> Bool[Array, " margins"]:
    """The margins that some weight moves; all, if none is or the loss is of errors.

    The others pull at nothing, and must not count in the normalization of $q$.
    """
    seen = jnp.any(jacobian != 0, axis=1)
    return seen | field.free | ~jnp.any(seen)


def margin_jacobian(
    flow: AbstractFlow, network: Callable, point: Float[Array, " weights"]
) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
    """Margins and their gradients at a point, `network` making networks of points."""

    def margins(point, x, y):
        return flow.sample_margins(network(point), x, y)

    def one(point, x, y):
        if flow.rivals == 1:
            z, row = jax.value_and_grad(lambda p: margins(p, x, y)[0])(point)
            return z[None], row[None]
        z, pullback = jax.vjp(lambda p: margins(p, x, y), point)
        return z, jax.vmap(pullback)(jnp.eye(flow.rivals))[0]

    z, rows = jax.vmap(one, in_axes=(None, 0, 0))(point, flow.x, flow.y)
    return jnp.ravel(z), rows.reshape(-1, point.size)


def flat_parameters(network: PyTree) -> Float[np.ndarray, " weights"]:
    """The parameters of a network as one vector."""
    leaves = jax.tree.leaves(_tree.parameters(network))
    return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


def start_of(
    field: Field, network: PyTree
) -> tuple[Float[Array, " weights"], Float[Array, ""]]:
    """The point and log-radius of a network; safe down to norms of 1e-300."""
    vector = flat_parameters(network)
    if not field.polar:
        return jnp.asarray(vector), jnp.zeros(())
    largest = np.max(np.abs(vector))
    radius = np.linalg.norm(vector / largest)
    log_radius = np.log(radius) + np.log(largest)
    return jnp.asarray(vector / largest / radius), jnp.asarray(log_radius)


def two_norm(vector: Float[Array, " n"]) -> Scalar:
    """The Euclidean norm."""
    return jnp.sqrt(jnp.dot(vector, vector))
