"""What the loop over steps hands on, and the controller of their size."""

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._field import State, two_norm
from ._kinks import KinkAhead
from ._types import Scalar


class Carry(eqx.Module):
    """All that the next step depends on; saved, it resumes bit for bit."""

    tau: Scalar
    length: Scalar
    state: State
    margins: Float[Array, " samples"]
    solver_state: PyTree
    controller_state: PyTree
    made_jump: Bool[Array, ""]
    log_t: Scalar
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    failed: Int[Array, ""]
    gradients: Scalar
    status: Int[Array, ""]
    kink: KinkAhead


def controller(rtol: float, atol: float) -> dfx.PIDController:
    """Diffrax's step size controller as the polar flow wants it.

    Coefficients by trial on toy problems: a little proportional control saves a third
    of the rejected steps. After a failed stage a step may grow by 5 at most: with
    Diffrax's 10 it cycles between failure and growth.
    """
    return dfx.PIDController(
        rtol=jnp.asarray(np.float64(rtol)),
        atol=jnp.asarray(np.float64(atol)),
        norm=two_norm,
        pcoeff=0.2,
        icoeff=0.8,
        factormax=5.0,
    )


def strong(tree: PyTree) -> PyTree:
    """Arrays that no longer count as Python numbers: else a second call recompiles."""
    # Diffrax's explicit solvers keep a Python bool in their state.
    arrays = jax.tree.map(jnp.asarray, tree)
    return jax.tree.map(lambda a: jax.lax.convert_element_type(a, a.dtype), arrays)
