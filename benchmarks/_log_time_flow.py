r"""The flow without polar coordinates, in log-time, for the solvers of others.

With $s = \log(1 + t)$, $\mathrm dw/\mathrm ds = e^{s + \log G} J^\top q$: all that a
careful user would do by hand, logarithms included, with jitted field and Jacobian; for
SciPy's methods, for Diffrax's as they come and, where `scikit-sundae` is installed, for
CVODE with a dense Jacobian and with Krylov iterations on its products.
"""

import dataclasses
import importlib.util
import math
import time
import warnings

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp


METHODS = ("LSODA", "Radau", "BDF")
DIFFRAX = {"Tsit5": dfx.Tsit5(), "Kvaerno5": dfx.Kvaerno5()}
CVODE = ("CVODE", "CVODE, GMRES") if importlib.util.find_spec("sksundae") else ()
MOST_CALLS = 50_000  # of the field, then it is given up
FEW = 16  # steps whose time tells that of others


class GivenUpError(RuntimeError):
    """A method that took too many calls or met a NaN."""


@dataclasses.dataclass
class Outcome:
    """How a method fared; `late` if it was stopped."""

    rtol: float
    calls: int
    jacobians: int
    weights: np.ndarray
    message: str
    ok: bool
    late: bool = False

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


@eqx.filter_jit
def _diffeqsolve(field, solver, log_t, start, rtol, most):
    return dfx.diffeqsolve(
        dfx.ODETerm(lambda s, w, _: field(s, w)), solver, 0.0, log_t, None, start,
        stepsize_controller=dfx.PIDController(rtol, rtol), max_steps=most, throw=False,
        adjoint=dfx.ForwardMode(),
    )  # fmt: skip


class LogTimeFlow:
    """The flow of a network in log-time; field and Jacobian compile once."""

    def __init__(self, flow, network):
        start, unravel = ravel_pytree(network)

        def field(s, w):
            margins, pullback = jax.vjp(lambda w: flow.margins(unravel(w)), w)
            if flow.kind == "targets":  # margins are errors, of one output
                (pull,) = pullback(-margins / len(flow.y))
                return jnp.exp(s) * pull
            log_weights = flow.loss.log_weight(margins)
            log_pull = jax.nn.logsumexp(log_weights) - math.log(len(flow.y))
            (pull,) = pullback(jax.nn.softmax(log_weights))
            return jnp.exp(s + log_pull) * pull

        def product(s, w, v):
            return jax.jvp(lambda w: field(s, w), (w,), (v,))[1]

        self.start = np.asarray(start)
        self.most_steps = {}
        self.field = jax.jit(field)
        self.jacobian = jax.jit(jax.jacfwd(field, argnums=1))
        self.product = jax.jit(product)

    def follow(self, method, log_t, rtol, most_seconds=math.inf):
        """The end at `log_t` by a method of SciPy, Diffrax or CVODE, if in time."""
        if method in DIFFRAX:
            return self._diffrax(method, log_t, rtol, most_seconds)
        calls = jacobians = 0
        late = time.perf_counter() + most_seconds

        def field(s, w):
            nonlocal calls
            calls += 1
            value = np.asarray(self.field(s, w))
            if calls > MOST_CALLS or not np.isfinite(value).all():
                raise GivenUpError(f"gave up at log t = {s:.3g} after {calls} calls")
            if time.perf_counter() > late:
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
                if method in CVODE:
                    end, message, ok = self._cvode(method, field, jacobian, log_t, rtol)
                else:
                    found = solve_ivp(
                        field, (0.0, log_t), self.start, method=method, jac=jacobian,
                        rtol=rtol, atol=rtol, t_eval=[log_t],
                    )  # fmt: skip
                    message, ok = str(found.message), bool(found.success)
                    end = found.y[:, -1] if ok else end
        except GivenUpError as error:
            message = str(error)
        lapsed = calls > MOST_CALLS or time.perf_counter() > late
        return Outcome(rtol, calls, jacobians, end, message, ok, lapsed)

    def _diffrax(self, method, log_t, rtol, most_seconds):
        """The end by Diffrax, in as many steps as it may take by the time of a few."""

        def run(most):
            found = _diffeqsolve(
                self.field, DIFFRAX[method], jnp.asarray(log_t), self.start,
                jnp.asarray(rtol), most,
            )  # fmt: skip
            return jax.block_until_ready(found)

        if math.isfinite(most_seconds):
            run(FEW)  # compiles
            begun = time.perf_counter()
            run(FEW)
            each = (time.perf_counter() - begun) / FEW
            power = math.ceil(math.log2(max(most_seconds / each, FEW)))
            self.most_steps[method] = min(1 << power, MOST_CALLS)
        most = self.most_steps.get(method, MOST_CALLS)
        found = run(most)
        steps, end = int(found.stats["num_steps"]), np.asarray(found.ys[-1])
        ok = bool(found.result == dfx.RESULTS.successful)
        message = f"{steps} steps" if ok else f"gave up after {steps} steps"
        return Outcome(rtol, steps, 0, end, message, ok, steps >= most)

    def _cvode(self, method, field, jacobian, log_t, rtol):
        """The end by SUNDIALS, whose callables fill arrays."""
        from sksundae import cvode

        def fill(s, w, out):
            out[:] = field(s, w)

        def fill_jacobian(s, w, _, out):
            out[:] = jacobian(s, w)

        def fill_product(s, w, _, v, out):
            out[:] = np.asarray(self.product(s, w, v))

        if method == "CVODE":
            how = {"linsolver": "dense", "jacfn": fill_jacobian}
        else:
            products = cvode.CVODEJacTimes(None, fill_product)
            how = {"linsolver": "gmres", "krylov_dim": 30, "jactimes": products}
        solver = cvode.CVODE(
            fill, method="BDF", rtol=rtol, atol=rtol, max_num_steps=MOST_CALLS, **how
        )
        found = solver.solve(np.array([0.0, log_t]), self.start)
        return found.y[-1], str(found.message), bool(found.success)
