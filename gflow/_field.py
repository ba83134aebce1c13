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

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PyTree

from . import _tree
from ._blocks import Blocks, whole
from ._flow import AbstractFlow
from ._gates import Kinks, find_kinks, frozen
from ._logs import log_mean_exp
from ._rows import rows_of
from ._sides import Gates, blocks_of, is_straight, no_gates, recorded
from ._switches import switches
from ._types import AnyArray, Scalar
from ._units import Units, find_units
from .clocks import AbstractClock
from .norms import AbstractNorm
from .norms._ready import L2Norm


SCALE_CAP = 1e10
"""The largest R max|z| that the dual weights see (to the power of the tail of the
loss). Rounding in z is 1e-16 of it, and R times that enters log q: with more support
samples than directions 1e13 stalls and 1e10 runs (found by trial on toy problems). It
moves the direction by about 1e-10."""

MILD = 15.0
"""Below this R max|z| the dual weights are a function of the point; above, unknowns of
their own. At rest differences of stored ones would carry rounding into the weights."""

LOG_HUGE = 709.0
LOG_MOST = 300.0
"""exp of more than the first overflows: beyond, times and losses are infinite; and the
square of exp of more than the second, with room for what it is multiplied by."""

LEAST_LOSS = -1500.0
"""The logarithm of a square loss that is zero to the last bit."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of an array, as a leaf of a tree."""

    sizes: tuple[int, ...]


class Field(eqx.Module):
    r"""The vector field of one network's flow, smooth at given gates.

    Attributes:
        flow: Data and loss.
        degree: The degree $L$ of homogeneity, NaN if there is none.
        shapes: The shapes of the arrays of weights.
        structure: All else of the network.
        units: The blocks of weights that errors are relative to.
        norm: In which the flow is steepest.
        polar: Whether the point is kept at norm one beside a log-radius.
        clock: What `tau` counts.
        kinks: What kinks the network has on one sample.
        straight: Whether each $u$ is linear in the weights that it depends on.
        blocks: Parts of the weights that each kink depends on one of.
        gates: Which sides of its kinks the field is smooth beyond.
        walled: Whether a sample may be lost slowly, as by squared ReLUs.
    """

    flow: AbstractFlow
    degree: Scalar
    shapes: PyTree
    structure: PyTree
    units: Units
    norm: AbstractNorm
    polar: bool = eqx.field(static=True)
    clock: AbstractClock
    kinks: Kinks = eqx.field(static=True)
    straight: bool = eqx.field(static=True)
    walled: bool = eqx.field(static=True)
    blocks: Blocks
    gates: Gates

    def __init__(
        self,
        flow: AbstractFlow,
        network: PyTree,
        clock: AbstractClock,
        degree: float,
    ):
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
        self.kinks = find_kinks(flow.sample_margins, network, flow.x[0], flow.y[0])
        slow = self.euclidean and not self.free and self.kinks.count == 0
        self.walled = slow and switches(network, flow.x[0])
        point = jnp.asarray(_tree.vector(network))
        self.blocks = whole(point.size, self.kinks.count)
        self.gates = no_gates(flow.samples, self.kinks.count, self.blocks)
        self.straight = True
        if self.kinks.count > 0:
            self.straight = is_straight(self, point)
            self.blocks = blocks_of(self, point)
            self.gates = recorded(self, point)

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

    def network(self, points: Float[AnyArray, "*times weights"]) -> PyTree:
        """The network whose parameters are this vector, or a stack of them."""
        leaves, tree = jax.tree.flatten(self.shapes)
        ends = np.cumsum([math.prod(leaf.sizes) for leaf in leaves])[:-1]
        parts = points.__array_namespace__().split(points, ends, axis=-1)
        shaped = [
            part.reshape(*points.shape[:-1], *leaf.sizes)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return eqx.combine(jax.tree.unflatten(tree, shaped), self.structure)

    def sample(
        self,
        point: Float[Array, " weights"],
        on: Bool[Array, " kinks"] | Float[Array, " kinks"],
        x: Float[Array, "*features"],
        y: Num[Array, "*outputs"],
    ) -> tuple[Float[Array, " rivals"], Float[Array, " kinks"]]:
        """Margins and kink functions $u$ of one sample, for gates that may be mixed."""
        network, margins = self.network(point), self.flow.sample_margins
        return frozen(margins, self.kinks, on, network, x, y)

    def margins(self, point: Float[Array, " weights"]) -> Float[Array, " margins"]:
        """The margins at this point, for log-radius 0; errors under the square loss."""
        each = jax.vmap(self.sample, (None, 0, 0, 0))
        return jnp.ravel(each(point, self.gates.on, self.flow.x, self.flow.y)[0])

    def jacobian(
        self, point: Float[Array, " weights"]
    ) -> tuple[Float[Array, " margins"], Float[Array, "margins weights"]]:
        """Margins and their derivatives, for the cost of one gradient a margin."""

        def margins(point, *sample):
            return self.sample(point, *sample)[0]

        samples = (self.gates.on, self.flow.x, self.flow.y)
        return rows_of(margins, self.flow.rivals, point, samples)

    def negative_gradient(
        self, point: Float[Array, " weights"], dual: Float[Array, " margins"]
    ) -> tuple[Float[Array, " margins"], Float[Array, " weights"]]:
        r"""The margins, and $J^\top q$ (or what is steepest in another norm)."""
        margins, pullback = jax.vjp(self.margins, point)
        return margins, self.norm.direction(pullback(dual)[0])

    def curvature_each(
        self,
        point: Float[Array, " weights"],
        directions: Float[Array, "some weights"],
        numbers: Int[Array, " some"],
    ) -> Float[Array, "some weights"]:
        """The Hessian of margins of these numbers times a direction of each its own.

        They must be all those of some samples.
        """
        flow = self.flow
        samples = numbers[:: flow.rivals] // flow.rivals

        def one(on, x, y, rows):
            def gradients(point):
                return jax.jacrev(lambda p: self.sample(p, on, x, y)[0])(point)

            def each(row, index):
                return jax.jvp(gradients, (point,), (row,))[1][index]

            return jax.vmap(each)(rows, jnp.arange(flow.rivals))

        rows = directions.reshape(-1, flow.rivals, point.size)
        on, x, y = (a[samples] for a in (self.gates.on, flow.x, flow.y))
        bent = jax.vmap(one)(on, x, y, rows)
        return bent.reshape(directions.shape)

    def log_scale(self, log_radius: Scalar) -> Scalar:
        r"""$\log R$."""
        return self.degree * log_radius if self.polar else jnp.zeros(())

    def scale(self, margins: Float[Array, " margins"], log_radius: Scalar) -> Scalar:
        """$R$, capped by `SCALE_CAP`, for margins of this size."""
        cap = math.log(SCALE_CAP) / self.flow.loss.tail
        cap = cap - jnp.log(jnp.maximum(jnp.max(jnp.abs(margins)), 1e-290))
        return jnp.exp(jnp.minimum(self.log_scale(log_radius), cap))

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


def start_of(
    field: Field, network: PyTree
) -> tuple[Float[Array, " weights"], Float[Array, ""]]:
    """The point and log-radius of a network; safe down to norms of 1e-300."""
    vector = _tree.vector(network)
    if not field.polar:
        return jnp.asarray(vector), jnp.zeros(())
    largest = np.max(np.abs(vector))
    radius = np.linalg.norm(vector / largest)
    log_radius = np.log(radius) + np.log(largest)
    return jnp.asarray(vector / largest / radius), jnp.asarray(log_radius)


def two_norm(vector: Float[Array, " n"]) -> Scalar:
    """The Euclidean norm."""
    return jnp.sqrt(jnp.dot(vector, vector))
