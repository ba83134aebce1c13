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
from ._coordinates import AbstractCoordinates, Flat, Sphere
from ._dual_kinds import AbstractDuals, Errors, Shares
from ._flow import AbstractFlow
from ._gates import Kinks, find_kinks_of, frozen
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

LOG_HUGE = 709.0
"""exp of more overflows: beyond, times and losses are infinite."""


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
        coordinates: How the point and the log-radius stand for the weights.
        duals: The kind of the dual weights.
        clock: What `tau` counts.
        kinks: What kinks the network has on one sample.
        straight: Whether each $u$ is linear in the weights, at any gates the same.
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
    coordinates: AbstractCoordinates
    duals: AbstractDuals
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
        self.units = find_units(network, degree, flow.x)
        self.norm = flow.norm_of(tuple(s.sizes for s in jax.tree.leaves(self.shapes)))
        targets = flow.kind == "targets"
        self.duals = Errors() if targets else Shares()
        polar = not math.isnan(degree) and not targets and self.euclidean
        self.coordinates = Sphere(self.degree) if polar else Flat()
        self.clock = clock
        self.kinks = find_kinks_of(flow.sample_margins, network, flow.x, flow.y)
        slow = self.euclidean and not targets and self.kinks.count == 0
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
    def euclidean(self) -> bool:
        """Whether the motion is linear in the dual weights."""
        return isinstance(self.norm, L2Norm)

    @property
    def exponent(self) -> Scalar:
        r"""Far out the loss is $\exp(-r^{\text{exponent}})$; 0 if not known."""
        return self.coordinates.power * self.flow.loss.tail

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
    ) -> tuple[Float[Array, " per_sample"], Float[Array, " kinks"]]:
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
        return rows_of(margins, self.flow.per_sample, point, samples)

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
        samples = numbers[:: flow.per_sample] // flow.per_sample

        def one(on, x, y, rows):
            def each(row, index):
                slope = jax.grad(lambda p: self.sample(p, on, x, y)[0][index])
                return jax.jvp(slope, (point,), (row,))[1]

            return jax.vmap(each)(rows, jnp.arange(flow.per_sample))

        rows = directions.reshape(-1, flow.per_sample, point.size)
        on, x, y = (a[samples] for a in (self.gates.on, flow.x, flow.y))
        bent = jax.vmap(one)(on, x, y, rows)
        return bent.reshape(directions.shape)

    def log_scale(self, log_radius: Float[AnyArray, ""]) -> Scalar:
        r"""$\log R$."""
        return self.coordinates.power * self.coordinates.beside(log_radius)

    def scale(self, margins: Float[Array, " margins"], log_radius: Scalar) -> Scalar:
        """$R$, capped by `SCALE_CAP`, for margins of this size."""
        cap = math.log(SCALE_CAP) / self.flow.loss.tail
        cap = cap - jnp.log(jnp.maximum(jnp.max(jnp.abs(margins)), 1e-290))
        return jnp.exp(jnp.minimum(self.log_scale(log_radius), cap))

    def mild(self, margins: Float[Array, " margins"], scale: Scalar) -> Bool[Array, ""]:
        """Whether the dual weights are a tame function of the margins."""
        return self.duals.mild(margins, scale)

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
        scale = self.scale(margins, log_radius)
        return self.duals.weights(self.flow, margins, scale, seen, held)

    def log_slope_and_loss(
        self,
        margins: Float[Array, " margins"],
        log_radius: Scalar,
        seen: Bool[Array, " margins"],
    ) -> tuple[Scalar, Scalar]:
        r"""$\log G$, over the margins that are seen, and $\log \mathcal L$."""
        largest = LOG_HUGE / max(self.flow.loss.tail, 1.0)
        log_scale = jnp.minimum(self.log_scale(log_radius), largest)
        scaled = jnp.exp(log_scale) * margins
        return self.duals.log_slope_and_loss(self.flow, scaled, seen)
