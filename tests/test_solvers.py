"""Solvers: orders of convergence, and agreement with others on the same field."""

import diffrax as dfx
import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curves import curve, distance, problem


TERM = dfx.ODETerm(gflow.polar_velocity)
RTOL = 1e-6
ORDERS = {
    "Kvaerno3": (gflow.SampleSpaceKvaerno3(stage_tol=1e-13), 3),
    "Kvaerno5": (gflow.SampleSpaceKvaerno5(stage_tol=1e-13), 5),
}
COUNTS = (8, 12, 16, 24)
TOTAL = 3.0


def stretch():
    """The first part of the flow of a deep linear network: field, state and length."""
    flow, network = problem("linear, exponential")
    field = gflow.PolarField(flow, network, network.degree)
    return field, gflow.polar_state(network), TOTAL


@eqx.filter_jit
def fixed_step(solver, field, solver_state, state, length):
    """One step: its end, a quarter of it by the dense output, and the next state."""
    zero = jnp.zeros(())
    end, _, dense, solver_state, result = solver.step(
        TERM, zero, length, state, field, solver_state, jnp.asarray(False)
    )
    dense = solver.interpolation_cls(t0=zero, t1=length, **dense)
    return end, dense.evaluate(length / 4), solver_state, result


def fixed_steps(solver, count):
    """The ends and the first quarters of equal steps."""
    field, state, total = stretch()
    length = jnp.asarray(total / count)
    solver_state = solver.init(TERM, 0.0, length, state, field)
    ends, quarters = [], []
    for _ in range(count):
        state, quarter, solver_state, result = fixed_step(
            solver, field, solver_state, state, length
        )
        assert result == dfx.RESULTS.successful
        ends.append(state)
        quarters.append(quarter)
    return np.array(ends), np.array(quarters)


def fitted_order(errors):
    return -np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]


@pytest.fixture(scope="module")
def fine():
    """Steps so short that their ends are exact, at every 192nd of the stretch."""
    return fixed_steps(ORDERS["Kvaerno5"][0], 192)[0]


@pytest.mark.parametrize(("solver", "order"), ORDERS.values(), ids=ORDERS.keys())
def test_fixed_steps_converge_at_the_nominal_order(solver, order, fine):
    ends = [fixed_steps(solver, count)[0][-1] for count in COUNTS]
    errors = [np.linalg.norm(end - fine[-1]) for end in ends]
    assert abs(fitted_order(errors) - order) <= 0.3


@pytest.mark.parametrize(("solver", "order"), ORDERS.values(), ids=ORDERS.keys())
def test_dense_output_converges_at_order_four_or_that_of_the_solver(
    solver, order, fine
):
    errors = []
    for count in COUNTS:
        stride = 192 // count
        exact = fine[stride // 4 - 1 :: stride]
        quarters = fixed_steps(solver, count)[1]
        errors.append(np.max(np.linalg.norm(quarters - exact, axis=1)))
    assert fitted_order(errors) >= min(order, 4) - 0.3


@pytest.mark.parametrize(
    "solver",
    [dfx.Tsit5(), dfx.Dopri8(), dfx.Kvaerno5(), gflow.SampleSpaceKvaerno3()],
    ids=lambda solver: type(solver).__name__,
)
def test_solvers_trace_one_curve(solver):
    found = gflow.solve(
        *problem("cubic"),
        until=gflow.Until(log_t=1.0),
        rtol=RTOL,
        solver=solver,
        progress=False,
    )
    log_t = np.array([-3.0, 0.0, 1.0])
    expected = curve("cubic").at(log_t=log_t)
    found = found.at(log_t=log_t)
    # Two curves, each within twenty tolerances of the flow.
    assert np.all(distance(found, expected) <= 40 * RTOL)
    assert np.max(np.abs(found.log_radius - expected.log_radius)) <= 40 * RTOL


def test_the_users_own_diffeqsolve_follows_the_same_curve():
    flow, network = problem("cubic")
    expected = curve("cubic")
    k = int(np.searchsorted(expected.log_t, 1.0))
    tau = float(expected.tau[k])
    solution = dfx.diffeqsolve(
        TERM,
        gflow.SampleSpaceKvaerno5(stage_tol=1e-2 * RTOL),
        t0=0.0,
        t1=tau,
        dt0=1e-2,
        y0=gflow.polar_state(network),
        args=gflow.PolarField(flow, network, network.degree),
        stepsize_controller=dfx.PIDController(
            rtol=RTOL, atol=RTOL, norm=jnp.linalg.norm
        ),
    )
    assert solution.ys is not None
    end = gflow.polar_state(jax.tree.map(lambda a: a[k], expected.direction))
    end = end.at[-1].set(float(expected.log_radius[k]))
    assert jnp.linalg.norm(solution.ys[-1] - end) <= 20 * RTOL


def test_explicit_solvers_count_their_gradients():
    found = gflow.solve(
        *problem("cubic"),
        until=gflow.Until(log_t=1.0),
        solver=dfx.Tsit5(),
        progress=False,
    )
    attempts = found.stats["steps"] + found.stats["rejected"]
    # Seven stages, and six forward passes of a third each.
    assert found.stats["gradients"] == pytest.approx(2 + attempts * (7 + 2))
