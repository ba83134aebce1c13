r"""Implicit Runge-Kutta steps of a flow, solved in the space of its samples.

A stage $D x = \beta + \eta F(x, q)$ is solved for the point *and* the dual weights, so
that a softmin of any sharpness costs nothing. One iteration makes a Newton step with a
linear model of the stage (see `_model`): with $x_f$ the point without the pull of $q$,

$$q_+ = \mathrm{softmax}(\log g(R(b + \eta K q_+))), \quad b = z + J(x_f - x), \quad
x_+ = x_f + \eta A^{-1} J^\top q_+ .$$

What is left is the curvature of the network, which Anderson acceleration removes
without ever forming a Hessian: memory and work are O(m N). Where that is slow and the
weights are few, the curvature is formed. With far more samples than weights, and dual
weights that are a tame function of the margins, the stage is first sought for the
weights alone (see `_direct`). All is measured unit by unit, in the moving frame of the
step.
"""

import abc
import dataclasses
from typing import ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._frame import Frame
from ._direct import is_tame, may_be_direct
from ._dual import predict_weights
from ._interpolation import QUARTERS
from ._iteration import ASTRAY, Stage, iterate
from ._model import FEW_WEIGHTS, curved_model, flat_model
from ._tableau import StageTable


ROUNDS, ROUND = 4, 12
"""How many models a stage may take with few weights, and iterations with each."""

DIRECT = 2
"""How many rounds for the weights alone with few of them, the second with curvature;
one with many."""

FINEST, ROUNDING = 1e-12, 1e-15
"""No stage is solved more finely than the first; what is rounded far out is the second
times the growth of the whole."""

NEAR_REST, TIGHT = 1e2, 1e-11
"""Stages so much longer than the time of a unit are solved to this, if they can be."""

EASY = 0.6
"""The share of `max_iterations` for the stages of a step to aim at. The number grows
faster than the step, and a step that fails for want of iterations is lost."""


class SampleSpaceState(eqx.Module):
    """What a step hands to the next: slope, dual weights, a count of gradients.

    And whether the curvature of the network was `stiff`, so that it is worth forming,
    and by which factor the next step may be longer, for its stages to converge.
    """

    slope: Float[Array, " weights"]
    dual: Float[Array, " margins"]
    gradients: Int[Array, ""]
    stiff: Bool[Array, ""]
    growth: Float[Array, ""]

    def after_failure(self, before: "SampleSpaceState") -> "SampleSpaceState":
        """What a step that failed has learned, beside the state before it."""
        return dataclasses.replace(before, stiff=self.stiff, gradients=self.gradients)


class AbstractSampleSpaceSolver(dfx.AbstractAdaptiveSolver):
    r"""An ESDIRK method for gradient flows, each stage solved in sample space.

    Diffrax's own solvers fail for $R \gg 1$ (their guess of a stage must be right to
    $1/R$, or the exponential throws it out). Use it through `gflow.solve`.

    Attributes:
        stage_tol: The largest distance between the last two iterates of a stage, unit
            by unit. `gflow.solve` sets it from `rtol`.
        max_iterations: How many iterations a stage may take before the step fails; with
            few weights `ROUNDS` of `ROUND` count instead.
        memory: How many differences Anderson acceleration keeps.
    """

    stage_tol: eqx.AbstractVar[Float[Array, ""]]
    max_iterations: eqx.AbstractVar[int]
    memory: eqx.AbstractVar[int]

    term_structure: ClassVar = dfx.ODETerm

    @property
    @abc.abstractmethod
    def table(self) -> StageTable:
        """The coefficients of the method."""

    def init(self, terms, t0, t1, y0, args):
        del terms, t0, t1, y0
        return self.first(args.gradient, args.dual)

    def first(
        self, gradient: Float[Array, " weights"], dual: Float[Array, " margins"]
    ) -> SampleSpaceState:
        """The state before the first step."""
        none, no = jnp.asarray(0), jnp.asarray(False)
        return SampleSpaceState(gradient, dual, none, no, jnp.asarray(jnp.inf))

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        del terms, made_jump
        table, length, frame = self.table, t1 - t0, args
        stages = len(table.a)
        a, predictor = jnp.asarray(table.a), jnp.asarray(table.predictor)
        nodes = jnp.asarray(table.nodes)
        eta = jnp.asarray(length * table.gamma)
        damping = 1 + eta * frame.rate

        def stage(i, carry):
            slopes, duals, model, _, q, count, most, ok = carry
            s = nodes[i] * length
            base = y0 + length * (a[i] @ slopes) + frame.lack_at(s)
            guess = frame.point(s, base + eta * (predictor[i] @ slopes))
            guessed = predictor[i] @ duals
            q = predict_weights(frame.field.duals.linear, guessed, q, frame.lost)
            early = solver_state.stiff & (i == 1)
            point, q, model, used, ok = self._solve_stage(
                frame, model, frame.point(s, base), guess, q, s, eta, early, ok
            )
            # From positions: late, q has no digits.
            coordinates = jnp.exp(-frame.sigma * s) * point
            slopes = slopes.at[i].set((coordinates - base) / eta)
            duals, most = duals.at[i].set(q), jnp.maximum(most, used)
            return slopes, duals, model, coordinates, q, count + used, most, ok

        first = frame.gradient - frame.rate * y0
        slopes = jnp.zeros((stages, y0.size)).at[0].set(first)
        q = frame.dual
        duals = jnp.zeros((stages, q.size)).at[0].set(q)
        none, ok = jnp.asarray(0), jnp.asarray(True)
        model = flat_model(frame, damping, eta)
        carry = (slopes, duals, model, y0, q, solver_state.gradients, none, ok)
        slopes, duals, model, end, q, count, most, ok = jax.lax.fori_loop(
            1, stages, stage, carry
        )
        error = jnp.where(ok, length * (jnp.asarray(table.error) @ slopes), jnp.inf)
        quarters = y0[None] + length * (jnp.asarray(table.quarters) @ slopes)
        quarters = quarters + jax.vmap(frame.lack_at)(length * QUARTERS)
        dual = jnp.asarray(table.values) @ duals
        dense_info = {"y0": y0, "quarters": quarters, "y1": end, "dual": dual}
        good, bad = dfx.RESULTS.successful, dfx.RESULTS.nonlinear_divergence
        # The stub takes an enumeration's items for strings.
        result = dfx.RESULTS.where(ok, good, bad)  # pyright: ignore[reportArgumentType]
        aim = jnp.inf if self._few(frame) else EASY * self.max_iterations
        growth = aim / jnp.maximum(most, 1)
        state = SampleSpaceState(slopes[-1], q, count, model.stiff, growth)
        return end, error, dense_info, state, result

    def _few(self, frame: Frame) -> bool:
        """Whether the curvature of the network may be formed."""
        return frame.start.size <= FEW_WEIGHTS and frame.field.euclidean

    def _solve_stage(self, frame, model, base, guess, dual, s, eta, early, ok):
        """The solution of one stage: point, dual, model, gradients used, success.

        It is sought in rounds: for the weights alone, where that may do, then for both.
        With few weights each after the first has a model made anew at the iterate (the
        first too, if it is `early` known to be needed). After a failure (`ok` false)
        the other stages are not worth it.
        """
        few = self._few(frame)
        rounds, length = (ROUNDS, ROUND) if few else (1, self.max_iterations)
        directly = (DIRECT if few else min(DIRECT, 1)) if may_be_direct(frame) else 0
        first = jnp.where(is_tame(frame), 0, directly)
        rounds = rounds + directly
        scaling = frame.weight * jnp.exp(-frame.sigma * s)
        stage = Stage(frame, base, s, eta, scaling)
        # A flow comes to rest only as far as its stages are solved.
        margins, fastest = frame.margins, jnp.max(frame.pulled / frame.size)
        mild = frame.field.mild(margins, frame.field.scale(margins, frame.log_radius))
        slow = mild & (eta * fastest > NEAR_REST)
        tight = jnp.where(slow, jnp.minimum(TIGHT, self.stage_tol), self.stage_tol)
        # Across the growth of the whole the curvature is as large as its damping, and
        # an iteration without it goes only so small a part of its way.
        part = 1 + eta * jnp.maximum(frame.growth, 0.0)
        early = early | (tight / part < FINEST)

        def goal_of(tolerance, model):
            finer = jnp.maximum(tolerance / part, FINEST)
            return jnp.where(model.flat, finer, jnp.maximum(tolerance, ROUNDING * part))

        def attempt(carry):
            point, q, model, used, number, _ = carry
            again = number + 1
            last = jnp.where(number < directly, directly, rounds)
            at_guess, renew = jnp.all(point == guess), early | (number > first)
            if few:
                model = jax.lax.cond(
                    renew,
                    lambda: curved_model(
                        frame, point, q, s, eta, scaling, model, number < directly
                    ),
                    lambda: model,
                )
                used = used + jnp.where(renew, 2 * point.size, 0)
            goal = goal_of(tight, model)
            point, q, count, error = iterate(
                stage, model, point, q, length, goal, number < directly, self.memory
            )
            # In units of the tolerance from here on.
            error = error / goal
            lost = ~(error * goal < ASTRAY)
            point, q = jnp.where(lost, guess, point), jnp.where(lost, dual, q)
            # From there with a model that is made there it would be the same again.
            if few:
                again = jnp.where(lost & at_guess & renew, last, again)
            return point, q, model, used + count, again, error

        def unfinished(carry):
            *_, number, error = carry
            return ok & ~(error <= 1) & (number < rounds)

        none = jnp.asarray(0)
        start = (guess, dual, model, none, first, jnp.asarray(jnp.inf))
        point, q, model, used, _, error = jax.lax.while_loop(unfinished, attempt, start)
        # As far as rounding allows; but no less far than any stage.
        error = error * goal_of(tight, model)
        return point, q, model, used, ok & (error <= goal_of(self.stage_tol, model))
