"""What the loop over steps hands on, and the controller of their size."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._sides import Gates
from .._types import Scalar
from .._walls import Walls


class Carry(eqx.Module):
    """All that the next step depends on; saved, it resumes bit for bit.

    Attributes:
        point: Where the flow is; of norm one beside a log-radius in polar coordinates.
        log_radius: Of the weights over `point`; else zero.
        dual: The dual weights.
        gradient: The negative gradient at given dual weights.
        margins: At `point`.
        solver_state: Of a sample-space solver.
        controller_state: Of the step size controller.
        length: Of the next step.
        most: By how much the step after it may be longer.
        longest: The longest step that follows the unstable mode that is known,
        way: and how much further it must be followed.
        looked: The length of the step after which modes were last looked at, on this
            stretch of rest; zero if they were not.
        searched: The length of a step from which samples that are lost in a balance are
            looked for again.
        strayed: How far units have moved since modes were looked at, frames apart.
        tau: The clock.
        log_t: The logarithm of physical time.
        log_whole: The logarithm of the radius, in any coordinates.
        accepted: Steps.
        rejected: Steps.
        failed: Steps whose stages did not converge.
        gradients: Gradient-equivalents spent.
        status: Why the loop stopped.
        gates: Of the field from here on.
        walls: That hold it from here on.
        asked: The kinks whose gates must be decided before it goes on.
        passed: How many kinks were.
        reached: What `status` is once gates are decided at the end of a step.
        resume: The length of a step before it was cut short at a kink; or zero.
        landing: The length of a step that meets a level, once it is known where on it:
            the next one is kept. Else zero.
    """

    point: Float[Array, " weights"]
    log_radius: Scalar
    dual: Float[Array, " margins"]
    gradient: Float[Array, " weights"]
    margins: Float[Array, " margins"]
    solver_state: PyTree
    controller_state: PyTree
    length: Scalar
    most: Scalar
    longest: Scalar
    way: Scalar
    looked: Scalar
    searched: Scalar
    strayed: Scalar
    tau: Scalar
    log_t: Scalar
    log_whole: Scalar
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    failed: Int[Array, ""]
    gradients: Scalar
    status: Int[Array, ""]
    gates: Gates
    walls: Walls
    asked: Bool[Array, "samples kinks"]
    passed: Int[Array, ""]
    reached: Int[Array, ""]
    resume: Scalar
    landing: Scalar


class Tolerance(eqx.Module):
    """The relative and the absolute tolerance of a step, as arrays."""

    rtol: Scalar
    atol: Scalar


def tolerance(rtol: float, atol: float) -> Tolerance:
    """The tolerances as arrays, so that others compile nothing anew."""
    return Tolerance(jnp.asarray(np.float64(rtol)), jnp.asarray(np.float64(atol)))


def controller(rtol: float) -> dfx.PIDController:
    """Diffrax's step size controller on errors in units of the tolerance.

    Coefficients by trial on toy problems: a little proportional control saves a third
    of the rejected steps. How much a step may grow is decided in the loop.
    """
    return dfx.PIDController(
        rtol=jnp.asarray(np.float64(rtol)),
        atol=0.0,
        norm=jnp.abs,
        pcoeff=0.2,
        icoeff=0.8,
        factormax=100.0,
    )


def strong(tree: PyTree) -> PyTree:
    """Arrays that no longer count as Python numbers: else a second call recompiles."""
    # Diffrax's explicit solvers keep a Python bool in their state.
    arrays = jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(lambda a: jax.lax.convert_element_type(a, a.dtype), arrays)
