"""The flow by SciPy, which shares no code with the solvers of gflow."""

import warnings
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax.flatten_util import ravel_pytree
from jaxtyping import ArrayLike, Float, PyTree

from .. import _tree
from .._checks import require_concrete, require_x64
from .._flow import AbstractFlow
from .._plain import require_plain
from ._counted import Counted, GivenUpError


METHODS = ("LSODA", "Radau", "BDF", "DOP853", "RK45", "RK23")
IMPLICIT = ("LSODA", "Radau", "BDF")
MOST_CALLS = 100_000


class FollowError(RuntimeError):
    """SciPy could not follow a flow; the message says how far it came, and why."""


def follow(
    flow: AbstractFlow,
    network: PyTree,
    log_t: ArrayLike | Sequence[float],
    *,
    rtol: float = 1e-9,
    method: str = "LSODA",
    max_calls: int = MOST_CALLS,
) -> PyTree:
    r"""The network at given times, by a solver of SciPy.

    An independent answer to compare with: in $s = \log(1 + t)$

    $$\frac{\mathrm d w}{\mathrm d s} = -e^s\, \nabla \mathcal L(w),$$

    for any network and any loss, by the derivatives of `log_losses` alone; for a
    `gflow.SteepestFlow`, its steepest motion. Nothing here knows of polar coordinates,
    units, gates or dual weights. Good to log-times of some 1e4, and for weights of
    1e-100 as long as the flow leaves them in that time. At kinks it takes JAX's
    derivative: a kink that the flow slides along makes it chatter, and it gives up.

    Args:
        flow: Data and loss.
        network: Where it starts, at time 0.
        log_t: Logarithms of physical time, increasing, each finite; a number or an
            array.
        rtol: Relative tolerance of a step; the absolute one is as much of the norm of
            the initial weights. Errors at the end are larger where the flow is
            unstable: compare two tolerances.
        method: One of those of `scipy.integrate.solve_ivp`; "LSODA", "Radau" and "BDF"
            are for stiff flows, "DOP853" for those that are not.
        max_calls: Of the vector field, before it gives up.

    Returns:
        The network at time `log_t`; where that is an array, one whose weights have
        a leading time axis, as `Trajectory.network`.

    Raises:
        FollowError: If the solver fails, meets a NaN, or takes too many calls. Nothing
            is returned then: there is no half-right answer.
        ValueError: If an argument is out of its range, or 64-bit mode is off.
        TypeError: Inside of `jit`, `vmap` or `grad`.

    Example:
        `gflow.testing.follow(flow, network, [0.0, 3.0])` against
        `curve.at(log_t=[0.0, 3.0]).network`

    References:
        Petzold (1983), "Automatic selection of methods for solving stiff and nonstiff
        systems of ordinary differential equations", for LSODA.
    """
    times = _checked(flow, network, log_t, rtol, method)
    weights, still = _tree.partition(network)
    start, unravel = ravel_pytree(weights)
    counted = Counted(flow, network, max_calls)
    ends = np.logaddexp(0.0, times)
    jacobian = {"jac": counted.jacobian} if method in IMPLICIT else {}
    size = float(_tree.norm(network))
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # its trouble shows in `success`
            found = scipy.integrate.solve_ivp(
                counted, (0.0, ends[-1]), np.asarray(start) / size, method, ends,
                rtol=rtol, atol=rtol, **jacobian,
            )  # fmt: skip
    except GivenUpError as error:
        raise FollowError(counted.text(str(error), method)) from None
    if not found.success or not np.all(np.isfinite(found.y)):
        raise FollowError(counted.text(str(found.message), method))
    rows = jnp.asarray(size * found.y.T)
    if np.ndim(log_t) == 0:
        return eqx.combine(unravel(rows[0]), still)
    return eqx.combine(jax.vmap(unravel)(rows), still)


def _checked(
    flow: AbstractFlow,
    network: PyTree,
    log_t: ArrayLike | Sequence[float],
    rtol: float,
    method: str,
) -> Float[np.ndarray, " times"]:
    require_concrete((flow, network), "gflow.testing.follow")
    require_x64()
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            "`flow` must be a `gflow.GradientFlow` or `gflow.SteepestFlow`, but is "
            f"{flow!r}."
        )
    require_plain(network)
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {METHODS}, but is {method!r}.")
    if not 3e-14 <= rtol <= 0.1:
        raise ValueError(f"`rtol` must lie in [3e-14, 0.1], but is {rtol!r}.")
    times = np.atleast_1d(np.asarray(log_t, dtype=float))
    rising = times.ndim == 1 and times.size > 0 and np.all(np.diff(times) > 0)
    if not rising or not np.all(np.isfinite(times)):
        raise ValueError(
            f"`log_t` must be finite and increasing, but is {log_t!r}. The start, at "
            "minus infinity, is `network` itself."
        )
    return times
