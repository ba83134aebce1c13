"""Explicit steps where a flow is not stiff, implicit ones where it is."""

import diffrax as dfx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from jax.flatten_util import ravel_pytree
from tiers import but_slow


IMPLICIT = gflow.solvers.SampleSpaceKvaerno5()
NETWORKS = {
    "linear layers": lambda key: gflow.nn.DeepLinear(4, (9, 7), 3, key=key),
    "smooth, with biases": lambda key: gflow.nn.SmoothMLP(4, (8,), 3, key=key),
}


def regression(name, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 4))
    y = x @ rng.normal(size=(4, 3)) + 0.1 * rng.normal(size=(30, 3))
    flow = gflow.GradientFlow(gflow.Square(), x, y)
    return flow, NETWORKS[name](jax.random.key(seed))


def classification(seed, samples=25):
    x = np.random.default_rng(seed).normal(size=(samples, 4))
    teacher = gflow.nn.MLP(4, (2,), power=2, leak=-1.0, key=jax.random.key(seed + 1))
    y = np.sign(jax.vmap(teacher)(x))
    network = gflow.nn.MLP(4, (7,), power=2, leak=-1.0, key=jax.random.key(seed))
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def attempts(curve):
    return curve.stats["steps"] + curve.stats["rejected"]


def by_scipy(flow, network, times):
    """The weights at times, by LSODA in time itself."""
    start, unravel = ravel_pytree(network)

    @jax.jit
    def velocity(w):
        return -jax.grad(lambda w: jnp.exp(flow.log_loss(unravel(w))))(w)

    return scipy.integrate.solve_ivp(
        lambda _, w: np.asarray(velocity(w)), (0.0, times[-1]), np.asarray(start),
        method="LSODA", rtol=1e-11, atol=1e-13, t_eval=times,
    ).y.T  # fmt: skip


@pytest.mark.parametrize("name", but_slow(NETWORKS, "linear layers"))
@pytest.mark.parametrize("rtol", [1e-5, 1e-9])
def test_flows_that_are_not_stiff_are_those_of_scipy(name, rtol):
    flow, network = regression(name, seed=7)
    times = np.array([0.1, 1.0, 4.0])
    exact = by_scipy(flow, network, times)
    end = gflow.Until(log_t=np.log(times[-1]))
    curve = gflow.solve(flow, network, until=end, rtol=rtol, progress=False)
    found = [ravel_pytree(point.network)[0] for point in curve.at(log_t=np.log(times))]
    errors = np.linalg.norm(np.stack(found) - exact, axis=1)
    assert np.max(errors / np.linalg.norm(exact, axis=1)) <= 50 * rtol
    # Seven stages are cheaper than those that are solved for.
    implicit = gflow.solve(
        flow, network, until=end, rtol=rtol, solver=IMPLICIT, progress=False
    )
    assert curve.stats["gradients"] < implicit.stats["gradients"]
    each = curve.stats["gradients"] / attempts(curve)
    assert each < implicit.stats["gradients"] / attempts(implicit)


@pytest.mark.parametrize("seed", [3, 11])
def test_stiff_flows_turn_to_implicit_steps(seed):
    flow, network = classification(seed)
    end = gflow.Until(log_t=1e6)
    curve = gflow.solve(flow, network, until=end, progress=False)
    implicit = gflow.solve(flow, network, until=end, solver=IMPLICIT, progress=False)
    # An explicit method would take a step for each unit of R, and that is 1e6.
    assert attempts(curve) < 10 * attempts(implicit)
    ends = (gflow.margins.normalized(c[-1]) for c in (curve, implicit))
    one, other = map(float, ends)
    assert abs(one - other) <= 1e-4 * abs(other)


def test_a_stable_point_is_not_approached_explicitly():
    """Noisy labels: the flow ends at a minimum, and steps grow without bound."""
    flow, network = regression("linear layers", seed=2)
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_t=25.0), progress=False, throw=False
    )
    assert curve.result in (
        gflow.RESULTS.successful,
        gflow.RESULTS.critical_point,
    )
    assert attempts(curve) < 1_000


def test_turns_are_the_same_curve_as_each_method_alone():
    flow, network = classification(5)
    end, rtol = gflow.Until(log_t=2.0), 1e-7
    curves = [
        gflow.solve(flow, network, until=end, rtol=rtol, solver=s, progress=False)
        for s in (gflow.solvers.Switching(), IMPLICIT, dfx.Tsit5())
    ]
    ends = [np.asarray(ravel_pytree(c[-1].network)[0]) for c in curves]
    for other in ends[1:]:
        miss = np.linalg.norm(ends[0] - other) / np.linalg.norm(other)
        assert miss <= 100 * rtol


def test_the_implicit_solver_of_one_s_choice():
    flow, network = classification(4)
    solver = gflow.solvers.Switching(gflow.solvers.SampleSpaceKvaerno3())
    end = gflow.Until(log_t=1e3)
    found = gflow.solve(
        flow, network, until=end, rtol=1e-4, solver=solver, progress=False
    )
    expected = gflow.solve(flow, network, until=end, progress=False)
    one, other = (float(gflow.margins.normalized(c[-1])) for c in (found, expected))
    assert abs(one - other) <= 1e-2 * abs(other)
