r"""The linear model of a stage: how its point answers to a defect and to dual weights.

Newton's method on a stage $D x = \beta + \eta F(x, q)$, $D = 1 + \eta m$, moves by
$A^{-1}(-d + \eta \Lambda^{-1} J^\top \mathrm dq)$ with $A = D - \eta\,\partial F /
\partial x$. For a smooth network $A \approx D$ serves, and Anderson acceleration
removes the rest. Where that is slow, and the weights are few, $A$ is formed and
factored, its rows and columns scaled by the sizes of the units: else the small ones
would drown in the elimination. So is what answers to the weights as a whole, the dual
ones with them, where a stage may be solved for the weights alone (see `_direct`).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._frame import Frame
from .._jacobian import Slopes
from .._types import Scalar
from ..norms._abstract import tangents as tangents_of
from ._direct import Whole, is_tame, may_be_direct, no_whole, whole_of
from ._free import FreeSlopes, free_gram
from ._gram import AbstractGram, DenseGram, FactoredGram, gram_of


FEW_WEIGHTS = 400
"""The most weights N for which $A$ is formed and factored, at 2 N^3/3."""

STIFF = 1.0
r"""The norm of $\eta\,\partial F/\partial x$, in units of $D$, from which on the next
step forms $A$ at once."""


class StageModel(eqx.Module):
    r"""The Jacobian of the margins and the matrix $A$, at one point.

    Attributes:
        jacobian: $J$, formed or not.
        gram: $K = J A^{-1} J^\top$, and how the point answers to dual weights.
        damping: $D$.
        scaling: The scales of rows and columns in `factor`.
        factor: $A$ by its LU factors; of size zero for many weights.
        pivots: Of `factor`.
        whole: $A$ with what answers through the dual weights.
        flat: Whether $A = D$, and `factor` means nothing.
        stiff: Whether the curvature is large against $D$.
    """

    jacobian: Float[Array, "margins weights"] | FreeSlopes
    gram: AbstractGram
    damping: Float[Array, " weights"]
    scaling: Float[Array, " weights"]
    factor: Float[Array, "size size"]
    pivots: Int[Array, " size"]
    whole: Whole
    flat: Bool[Array, ""]
    stiff: Bool[Array, ""]

    @property
    def safe_damping(self) -> Float[Array, " weights"]:
        """$D$, or 1 where the frame decays: there the curvature is as large as $m$."""
        return jnp.maximum(self.damping, 1.0)

    def undo(self, defect: Float[Array, " weights"]) -> Float[Array, " weights"]:
        """$A^{-1}$ times a vector."""
        return _undo(self, defect[:, None])[:, 0]

    def free_point(self, defect, point, dual, step):
        """Where the point goes without $q$: short of its goal by what answers to it."""
        return point - self.undo(defect) - step * self.gram.answer(dual)


def _undo(model: StageModel, right: Float[Array, "weights columns"]):
    if model.factor.size == 0:
        return right / model.safe_damping[:, None]

    def solve():
        scaled = model.scaling[:, None] * right
        lu = (model.factor, model.pivots)
        return jax.scipy.linalg.lu_solve(lu, scaled) / model.scaling[:, None]

    return jax.lax.cond(model.flat, lambda: right / model.safe_damping[:, None], solve)


def flat_model(
    frame: Frame, damping: Float[Array, " weights"], eta: Scalar
) -> StageModel:
    """The model that knows no curvature of the network, at the start of the step."""
    size = damping.size if damping.size <= FEW_WEIGHTS else 0
    safe = jnp.maximum(damping, 1.0)
    jacobian, gram = _flat_gram(frame, safe, size > 0)
    whole = no_whole(frame)
    if may_be_direct(frame):
        assert isinstance(jacobian, Array), "It is formed where margins are many."
        start = frame.start, frame.margins, frame.dual, jnp.zeros(())
        whole = jax.lax.cond(
            is_tame(frame),
            lambda: whole_of(
                frame, jacobian, *start, eta, frame.weight, jnp.diag(safe)
            ),
            lambda: no_whole(frame),
        )
    return StageModel(
        jacobian=jacobian,
        gram=gram,
        damping=damping,
        scaling=frame.weight,
        factor=jnp.zeros((size, size)),
        pivots=jnp.zeros(size, jnp.int32),
        whole=whole,
        flat=jnp.asarray(True),
        stiff=jnp.asarray(False),
    )


def _flat_gram(frame: Frame, safe: Float[Array, " weights"], few: bool):
    """The Jacobian of what may move at the start of a step, and its Gram matrix."""
    given = frame.jacobian
    if isinstance(given, Slopes):
        free = FreeSlopes.of(frame, given)
        response = FreeSlopes(free.pull, free.push, safe)
        return free, DenseGram(free_gram(frame, given, safe), response)
    rows = frame.free_rows(jnp.zeros(()), frame.start, given)
    # Other models of the step are matrices, and all must be of one kind.
    dense = few or not frame.field.euclidean
    middle = jnp.diag(1 / safe) if dense else 1 / safe
    return rows, gram_of(rows, rows / safe[None], middle)


def steepest_model(frame: Frame, model: StageModel, gradient) -> StageModel:
    """The flat model of a flow that is steepest in another norm, at its direction."""

    def tangents(rows):
        return tangents_of(frame.field.norm, gradient, rows) / model.safe_damping[None]

    assert isinstance(model.jacobian, Array), "It is formed in other norms."
    response, middle = tangents(model.jacobian), None
    if isinstance(model.gram, FactoredGram):
        middle = tangents(jnp.eye(gradient.size)).T
    gram = gram_of(model.jacobian, response, middle)
    return eqx.tree_at(lambda m: m.gram, model, gram)


def curved_model(
    frame: Frame,
    point: Float[Array, " weights"],
    dual: Float[Array, " margins"],
    s: Scalar,
    eta: Scalar,
    scaling: Float[Array, " weights"],
    flat: StageModel,
    direct: Bool[Array, ""],
) -> StageModel:
    """The model with the curvature of the network; flat if it is singular.

    What answers through the dual weights is made anew if it is `direct`.
    """
    margins, jacobian = frame.field.jacobian(point)
    jacobian = frame.free_rows(s, point, jacobian)

    def motion(point):
        return frame.negative_gradient(s, point, dual)[1]

    _, linearized = jax.linearize(motion, point)
    columns = jax.vmap(linearized)(jnp.eye(point.size))  # one a row
    # What rests does not move: coupled, the elimination would move it by rounding.
    bent = jnp.where(frame.rest[None], 0.0, eta * columns.T)
    damping = flat.damping
    rest = jnp.diag(damping) - bent
    bent = bent * scaling[:, None] / scaling[None]
    factor, pivots = jax.scipy.linalg.lu_factor(
        jnp.where(np.eye(point.size, dtype=bool), damping[:, None], 0.0) - bent
    )
    whole = flat.whole
    if may_be_direct(frame):
        there = frame, jacobian, point, margins, dual, s, eta, scaling, rest
        whole = jax.lax.cond(direct, lambda: whole_of(*there), lambda: flat.whole)
    stiff = jnp.sum((bent / flat.safe_damping[:, None]) ** 2) > STIFF**2
    model = StageModel(
        jacobian, flat.gram, damping, scaling, factor, pivots, whole,
        jnp.asarray(False), stiff,
    )  # fmt: skip
    if isinstance(flat.gram, FactoredGram):
        middle = _undo(model, jnp.eye(point.size))
        response = jacobian @ middle.T
    else:
        middle, response = None, _undo(model, jacobian.T).T
    usable = jnp.isfinite(jnp.sum(response))
    gram = gram_of(jacobian, response, middle)
    model = eqx.tree_at(lambda m: m.gram, model, gram)
    return jax.tree.map(lambda a, b: jnp.where(usable, a, b), model, flat)
