r"""Implicit Runge-Kutta steps of the polar flow, solved in sample space.

A stage $\theta = \phi + \eta F(\theta, q)$ is solved for $\theta$ *and* $q$, so that a
softmin of any sharpness costs nothing. One iteration makes a Newton step with the
Jacobian of the margins frozen at the start of the step: given the defect
$d = \theta - \phi - \eta F(\theta, q)$,

$$q_+ = \mathrm{softmax}(\log g(R(b + \bar\eta K q_+))), \quad
b = z - J \bar d - \bar\eta K q, \quad
\theta_+ = \theta - \bar d + \bar\eta P J^\top (q_+ - q),$$

where $K = J P J^\top$, and a bar divides by $1 + \eta \langle q, L z\rangle$, the
curvature of the sphere. What is left is the curvature of the network, which Anderson
acceleration removes without ever forming a Hessian: memory and work are O(m N). Where
that is slow, at kinks, and the weights are few, the curvature is formed: see `_model`.
"""

import abc
from typing import ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._field import State, two_norm
from ._anderson import accelerate, empty_history
from ._dual import predict_weights, solve_weights
from ._model import FEW_WEIGHTS, StageModel, curved_model, flat_model
from ._tableau import StageTable, stage_table


DUAL_TOLERANCE = 0.03
"""The error left in the weights of a stage, against the error of the iterate."""


ROUNDS, ROUND = 3, 12
"""How many models a stage may take with few weights, and iterations with each."""

LOOK = 8
"""With many weights a stage is given up when its last iterations, so many, show that it
will not converge in time: otherwise failures would cost more than successes."""

EASY = 0.6
"""The share of `max_iterations` for the stages of a step to aim at. The number grows
faster than the step, and a step that fails for want of iterations is lost."""


class SampleSpaceState(eqx.Module):
    """What a step hands to the next: velocity, weights, a count of gradients.

    And whether the curvature of the network was `stiff`, so that it is worth forming,
    and by which factor the next step may be longer, for its stages to converge.
    """

    velocity: State
    weights: Float[Array, " samples"]
    gradients: Int[Array, ""]
    stiff: Bool[Array, ""]
    growth: Float[Array, ""]


class AbstractSampleSpaceSolver(dfx.AbstractAdaptiveSolver):
    r"""An ESDIRK method for the polar flow, each stage solved in sample space.

    Diffrax's own solvers fail for $R \gg 1$ (their guess of a stage must be right to
    $1/R$, or the exponential throws it out). Use it with
    `diffrax.ODETerm(gflow.polar_velocity)`, a `PolarState` for `y0` and the
    field as `args`; `gflow.solve` does all that.

    Attributes:
        stage_tol: The largest distance, in weights of norm one and log-radius, between
            the last two iterates of a stage. `gflow.solve` sets it from `rtol`.
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
        del terms, t0, t1
        weights = args.weights(y0)
        velocity, _ = args.velocity(y0[:-1], weights)
        any_length = jnp.asarray(jnp.inf)
        return SampleSpaceState(
            velocity, weights, jnp.asarray(1), jnp.asarray(False), any_length
        )

    def func(self, terms, t0, y0, args):
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        del terms, made_jump
        table, length, start = self.table, t1 - t0, y0
        stages = len(table.a)
        a, predictor = jnp.asarray(table.a), jnp.asarray(table.predictor)
        eta = length * table.gamma

        def stage(i, carry):
            slopes, weights, model, _, q, count, most, ok = carry
            base = start + length * (a[i] @ slopes)
            guess = base + eta * (predictor[i] @ slopes)
            q = predict_weights(args.dual, predictor[i] @ weights, q)
            early = solver_state.stiff & (i == 1)
            point, q, model, used, ok = self._solve_stage(
                args, model, base, guess, q, eta, early, ok
            )
            slopes = slopes.at[i].set((point - base) / eta)
            weights, most = weights.at[i].set(q), jnp.maximum(most, used)
            return slopes, weights, model, point, q, count + used, most, ok

        slopes = jnp.zeros((stages, start.size)).at[0].set(solver_state.velocity)
        q = solver_state.weights
        weights = jnp.zeros((stages, q.size)).at[0].set(q)
        linear = args.linearize(y0, solver_state.velocity)
        model = flat_model(linear, args.damping(solver_state.velocity, eta))
        count = solver_state.gradients + 1  # the per-sample gradients of the model
        none, ok = jnp.asarray(0), jnp.asarray(True)
        carry = (slopes, weights, model, start, q, count, none, ok)
        slopes, _, model, end, q, count, most, ok = jax.lax.fori_loop(
            1, stages, stage, carry
        )
        error = jnp.where(ok, length * (jnp.asarray(table.error) @ slopes), jnp.inf)
        dense_info = {"y0": y0, "y1": end, "k": length * slopes}
        result = dfx.RESULTS.where(
            ok, dfx.RESULTS.successful, dfx.RESULTS.nonlinear_divergence
        )
        aim = jnp.inf if self._few(args, y0) else EASY * self.max_iterations
        growth = aim / jnp.maximum(most, 1)
        state = SampleSpaceState(slopes[-1], q, count, model.stiff, growth)
        return end, error, dense_info, state, result

    def _few(self, field, state) -> bool:
        """Whether the curvature of the network may be formed."""
        return state.size - 1 <= FEW_WEIGHTS and not field.bends

    def _solve_stage(self, field, model, base, guess, weights, eta, early, ok):
        """The solution of one stage: point, weights, model, gradients used, success.

        With few weights it is sought in rounds, each after the first with a model made
        anew at the iterate (the first too, if it is `early` known to be needed). After
        a failure (`ok` false) the other stages are not worth it.
        """
        few = self._few(field, base)
        rounds, length = (ROUNDS, ROUND) if few else (1, self.max_iterations)

        def attempt(carry):
            point, q, model, used, number, _ = carry
            if few:
                renew = early | (number > 0)
                model = jax.lax.cond(
                    renew,
                    lambda: curved_model(field, point, q, eta, model.damping),
                    lambda: model,
                )
                used = used + jnp.where(renew, 2 * point.size, 0)
            point, q, count, error = self._iterate(
                field, model, base, point, q, eta, length
            )
            return point, q, model, used + count, number + 1, error

        def unfinished(carry):
            *_, number, error = carry
            going = (number == 0) | (jnp.isfinite(error) & (error > self.stage_tol))
            return ok & going & (number < rounds)

        none = jnp.asarray(0)
        start = (guess, weights, model, none, none, jnp.asarray(jnp.inf))
        point, q, model, used, _, error = jax.lax.while_loop(unfinished, attempt, start)
        return point, q, model, used, ok & (error <= self.stage_tol)

    def _iterate(self, field, given: StageModel, base, point, q, eta, most):
        """Accelerated Newton steps with one model: point, weights, count, error."""
        unit = field.unit(base)

        def iterate(carry):
            point, q, history, count, error, best, mark = carry
            direction = point[:-1]
            velocity, margins = field.velocity(direction, q)
            model = given
            if field.bends:
                linear = field.bend(given.jacobian, direction, q)
                model = flat_model(linear, given.damping)
            defect = model.undo((point - base - eta * velocity)[:-1])
            image = model.jacobian @ defect + eta * (model.gram @ q)
            tolerance = DUAL_TOLERANCE * jnp.clip(error, 3 * self.stage_tol, 1e-2)
            scale, offset = field.sharpness(margins, point)
            new_q, _ = solve_weights(
                field.flow, field.dual, q, margins - image, model.gram, scale, offset,
                eta, unit * tolerance,
            )  # fmt: skip
            moved = direction - defect + eta * ((new_q - q) @ model.response)
            grown = base[-1] + eta * field.scalar_rate(new_q, margins)
            mapped = jnp.append(moved, grown)
            residual = mapped - point
            error = two_norm(residual) / unit
            point, history = accelerate(history, mapped, residual)
            # The best error of each `LOOK` iterations against that of those before.
            best, look = jnp.minimum(best, error), (count + 1) % LOOK == 0
            blocks_left = (most - count - 1) / LOOK
            hopeless = look & (best * (best / mark) ** blocks_left > self.stage_tol)
            error = jnp.where(hopeless & (error > self.stage_tol), jnp.inf, error)
            mark = jnp.where(look, best, mark)
            return point, new_q, history, count + 1, error, best, mark

        def unfinished(carry):
            *_, count, error, _, _ = carry
            going = (count == 0) | (jnp.isfinite(error) & (error > self.stage_tol))
            return going & (count < most)

        history, far = empty_history(self.memory, base.size), jnp.asarray(jnp.inf)
        start = (point, q, history, jnp.asarray(0), far, far, far)
        point, q, _, count, error, _, _ = jax.lax.while_loop(unfinished, iterate, start)
        return point, q, count, error


_KVAERNO3 = stage_table(dfx.Kvaerno3.tableau, order=3)
_KVAERNO5 = stage_table(dfx.Kvaerno5.tableau, order=5)


class _Interpolation3(dfx.FourthOrderPolynomialInterpolation):
    c_mid: ClassVar[np.ndarray] = _KVAERNO3.midpoint


class _Interpolation5(dfx.FourthOrderPolynomialInterpolation):
    c_mid: ClassVar[np.ndarray] = _KVAERNO5.midpoint


class SampleSpaceKvaerno3(AbstractSampleSpaceSolver):
    """Kvaerno's 3(2) method in sample space: more steps, each of fewer stages."""

    interpolation_cls: ClassVar = _Interpolation3
    stage_tol: Float[Array, ""] = eqx.field(default=1e-8, converter=jnp.asarray)
    max_iterations: int = 40
    memory: int = 8

    @property
    def table(self):
        return _KVAERNO3

    def order(self, terms):
        del terms
        return 3


class SampleSpaceKvaerno5(AbstractSampleSpaceSolver):
    """Kvaerno's 5(4) method in sample space, with a fourth-order dense output.

    References:
        Kvaerno (2004), "Singly diagonally implicit Runge-Kutta methods with an explicit
        first stage".
    """

    interpolation_cls: ClassVar = _Interpolation5
    stage_tol: Float[Array, ""] = eqx.field(default=1e-8, converter=jnp.asarray)
    max_iterations: int = 40
    memory: int = 8

    @property
    def table(self):
        return _KVAERNO5

    def order(self, terms):
        del terms
        return 5
