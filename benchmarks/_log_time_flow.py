r"""The flow without polar coordinates, in log-time, for the solvers of SciPy.

With $s = \log(1 + t)$, $\mathrm dw/\mathrm ds = e^{s + \log G} J^\top q$: all that a
careful user would do by hand, logarithms included, with jitted field and Jacobian.
"""

import dataclasses
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp


METHODS = ("LSODA", "Radau", "BDF")
MOST_CALLS = 50_000  # of the field, then it is given up


class GivenUpError(RuntimeError):
    """A method that took too many calls or met a NaN."""


@dataclasses.dataclass
class Outcome:
    """How a method of SciPy fared."""

    rtol: float
    calls: int
    jacobians: int
    weights: np.ndarray
    message: str
    ok: bool

    def row(self, case, reference):
        """Error, work and success; the error is in the direction."""
        leaves = jax.tree.leaves(reference.direction)
        exact = np.concatenate([np.asarray(leaf[-1]).ravel() for leaf in leaves])
        direction = self.weights / np.linalg.norm(self.weights)
        return {
            "case": case,
            "rtol": self.rtol,
            "field_calls": self.calls,
            "jacobians": self.jacobians,
            "direction_error": float(np.linalg.norm(direction - exact)),
            "ok": self.ok,
            "result": self.message,
        }


class LogTimeFlow:
    """The flow of a network in log-time; field and Jacobian compile once."""

    def __init__(self, flow, network):
        start, unravel = ravel_pytree(network)

        def field(s, w):
            margins, pullback = jax.vjp(lambda w: flow.margins(unravel(w)), w)
            log_weights = flow.loss.log_weight(margins)
            log_pull = jax.nn.logsumexp(log_weights) - math.log(len(flow.y))
            (pull,) = pullback(jax.nn.softmax(log_weights))
            return jnp.exp(s + log_pull) * pull

        self.start = np.asarray(start)
        self.field = jax.jit(field)
        self.jacobian = jax.jit(jax.jacfwd(field, argnums=1))

    def follow(self, method, log_t, rtol):
        """The end at `log_t` by one of `METHODS`."""
        calls = jacobians = 0

        def field(s, w):
            nonlocal calls
            calls += 1
            value = np.asarray(self.field(s, w))
            if calls > MOST_CALLS or not np.isfinite(value).all():
                raise GivenUpError(f"gave up at log t = {s:.3g} after {calls} calls")
            return value

        def jacobian(s, w):
            nonlocal jacobians
            jacobians += 1
            return np.asarray(self.jacobian(s, w))

        end, ok = np.full(self.start.size, np.nan), False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their trouble shows in `ok`
                found = solve_ivp(
                    field, (0.0, log_t), self.start, method=method, jac=jacobian,
                    rtol=rtol, atol=rtol, t_eval=[log_t],
                )  # fmt: skip
            message, ok = str(found.message), bool(found.success)
            end = found.y[:, -1] if ok else end
        except GivenUpError as error:
            message = str(error)
        return Outcome(rtol, calls, jacobians, end, message, ok)
