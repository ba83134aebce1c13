"""Explicit steps where the flow is not stiff, implicit ones where it is."""

import dataclasses
from typing import ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._coordinates import two_norm
from .._frame import Frame
from .._jacobian import is_tall
from .._types import Scalar
from ._direct import is_tame
from ._explicit import explicit_step
from ._interpolation import QUARTERS, QuarticThroughQuarters
from .kvaerno import SampleSpaceKvaerno5
from .sample_space import AbstractSampleSpaceSolver, SampleSpaceState


STABLE = 3.0
"""Explicit steps are stable up to this many times of the fastest decay: 3.3 by theory,
but the rate that is seen is a little too low."""

LIMITED = 0.6
"""From this share of `STABLE` on it is stability that keeps explicit steps short."""

BACK, GROWTH = 3, 1.5
"""So many implicit steps in a row must be worth less than explicit ones for a turn.
Those that grow by the second from one to the next are not what they will be."""

PATIENT = 2.0
"""Explicit steps that stability keeps short go on for so many times of what an implicit
one is worth, before that is tried, and twice as long each time that it was in vain."""

TRIAL, LONGER = 10, 4
"""It was if it has lasted for fewer steps; and at most so many times as long."""


def worth(margins: int, weights: int) -> float:
    """How many explicit steps cost as much as an implicit one.

    A fit to what was measured with 20 to 10,000 samples and 20 to 4,160 weights, within
    a factor of two: the elimination grows with the smaller number, and is made only
    once a step where weights are few.
    """
    small = min(margins, weights)
    return 2 + 0.01 * small if is_tall(margins, weights) else min(3 + 0.04 * small, 30)


class SwitchingState(eqx.Module):
    """What a step hands to the next.

    Attributes:
        inner: The state of the implicit solver.
        explicit: Whether the next step is explicit.
        votes: How many steps have spoken for the other kind, those against taken off.
        patience: How many explicit ones must.
        stay: How many implicit steps there have been since the last explicit one.
        length: Of the last step.
        stiffest: The stiffest direction that is known.
    """

    inner: SampleSpaceState
    explicit: Bool[Array, ""]
    votes: Int[Array, ""]
    patience: Int[Array, ""]
    stay: Int[Array, ""]
    length: Scalar
    stiffest: Float[Array, " weights"]

    @property
    def slope(self) -> Float[Array, " weights"]:
        """The velocity at the end."""
        return self.inner.slope

    @property
    def dual(self) -> Float[Array, " margins"]:
        """The dual weights at the end."""
        return self.inner.dual

    @property
    def gradients(self) -> Int[Array, ""]:
        """Gradients spent."""
        return self.inner.gradients

    @property
    def growth(self) -> Scalar:
        """By which factor the next step may be longer."""
        return self.inner.growth

    def after_failure(self, before: "SwitchingState") -> "SwitchingState":
        """What a step that failed has learned, beside the state before it."""
        inner = self.inner.after_failure(before.inner)
        return dataclasses.replace(self, inner=inner)


class Switching(dfx.AbstractAdaptiveSolver):
    r"""Tsitouras' explicit 5(4) method where a flow is not stiff, else an implicit one.

    An explicit step costs a third to a thirtieth of an implicit one, and cannot be
    longer than some three times of the fastest decay. Whether that is what keeps it
    short its last two stages tell, or that they lead away and back; whether it would
    again, a power iteration beside implicit steps, one product with the Jacobian each.

    Attributes:
        implicit: The solver of stiff steps.

    References:
        Petzold (1983), "Automatic selection of methods for solving stiff and nonstiff
        systems of ordinary differential equations"; Tsitouras (2011).
    """

    implicit: AbstractSampleSpaceSolver = SampleSpaceKvaerno5()

    interpolation_cls: ClassVar = QuarticThroughQuarters
    term_structure: ClassVar = dfx.ODETerm

    def order(self, terms):
        return self.implicit.order(terms)

    def init(self, terms, t0, t1, y0, args):
        del terms, t0, t1, y0
        return self.first(args.gradient, args.dual)

    def first(
        self, gradient: Float[Array, " weights"], dual: Float[Array, " margins"]
    ) -> SwitchingState:
        """The state before the first step, which is explicit."""
        inner, none = self.implicit.first(gradient, dual), jnp.asarray(0)
        patience = jnp.asarray(_first_patience(dual.size, gradient.size))
        return SwitchingState(
            inner=inner,
            explicit=jnp.asarray(True),
            votes=none,
            patience=patience,
            stay=none,
            length=jnp.zeros(()),
            stiffest=gradient,
        )

    def func(self, terms, t0, y0, args):
        """The velocity at a time."""
        return terms.vf(t0, y0, args)

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        frame, length = args, t1 - t0
        state = solver_state

        def explicit():
            return _explicit(frame, length, state)

        def implicit():
            end, error, dense, inner, result = self.implicit.step(
                terms, t0, t1, y0, frame, state.inner, made_jump
            )
            new = _after_implicit(frame, length, state, inner, tame)
            return end, error, dense, new, result

        tame = is_tame(frame)
        return jax.lax.cond(state.explicit & tame, explicit, implicit)


def _first_patience(margins: int, weights: int) -> int:
    return round(PATIENT * worth(margins, weights))


def _after_implicit(frame: Frame, length, state, inner, tame) -> SwitchingState:
    """The state after an implicit step."""
    stiffness, stiffest = _stiffness(frame, length, state.stiffest)
    sizes = frame.dual.size, frame.start.size
    slack = tame & (stiffness < STABLE * worth(*sizes))
    slack = slack & (length < GROWTH * state.length)
    votes, stay = jnp.where(slack, state.votes + 1, 0), state.stay + 1
    back = votes >= BACK
    first = _first_patience(*sizes)
    longer = jnp.minimum(2 * state.patience, LONGER * first)
    patience = jnp.where(stay < TRIAL, longer, first)
    most = jnp.where(back, STABLE / jnp.maximum(stiffness, 1e-300), jnp.inf)
    inner = dataclasses.replace(inner, growth=jnp.minimum(inner.growth, most))
    return SwitchingState(
        inner=inner,
        explicit=back,
        votes=jnp.where(back, 0, votes),
        patience=jnp.where(back, patience, state.patience),
        stay=stay,
        length=length,
        stiffest=stiffest,
    )


def _explicit(frame: Frame, length, state: SwitchingState):
    """An explicit step, in the form of Diffrax."""
    taken = explicit_step(frame, length)

    def dual(s, coordinates):
        return frame.dual_weights(frame.field.margins(frame.point(s, coordinates)), s)

    times = length * jnp.append(QUARTERS, 1.0)
    nodes = jnp.concatenate([taken.quarters, taken.end[None]])
    duals = jax.vmap(dual)(times, nodes)
    dense = {"y0": frame.start, "quarters": taken.quarters, "y1": taken.end}
    dense["dual"] = duals[:-1]
    limited = ~(taken.stiffness < LIMITED * STABLE) | taken.returns
    # Where hardly anything moves the rate that is seen is noise, now and then too low.
    votes = jnp.maximum(jnp.where(limited, state.votes + 1, state.votes - 1), 0)
    inner = SampleSpaceState(
        slope=taken.slope,
        dual=duals[-1],
        gradients=state.gradients + 6,
        stiff=jnp.asarray(False),
        growth=STABLE / jnp.maximum(taken.stiffness, 1e-300),
    )
    turn = votes >= state.patience
    new = SwitchingState(
        inner=inner,
        explicit=~turn,
        votes=jnp.where(turn, 0, votes),
        patience=state.patience,
        stay=jnp.asarray(0),
        length=length,
        stiffest=taken.stiffest,
    )
    return taken.end, taken.error, dense, new, dfx.RESULTS.successful


def _stiffness(frame: Frame, length, stiffest):
    """The largest rate along a direction, and what the flow makes of it."""

    def velocity(coordinates):
        return frame.velocity(jnp.zeros(()), coordinates)

    size = two_norm(frame.weight * stiffest)
    usable = (size > 0) & jnp.isfinite(size)
    along = jnp.where(usable, stiffest / jnp.where(usable, size, 1.0), frame.gradient)
    _, turned = jax.jvp(velocity, (frame.start,), (along,))
    size = two_norm(frame.weight * along)
    rate = two_norm(frame.weight * turned) / jnp.where(size > 0, size, jnp.inf)
    return length * rate, turned
