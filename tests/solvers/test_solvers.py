"""Solvers: orders of convergence, and agreement with others on the same field."""

import diffrax as dfx
import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from curves import curve, distance, problem
from gflow._field import Field
from gflow._framing import make_frame
from gflow._integrate._arrival import arrive
from gflow._integrate._trial import TERM
from gflow._steps import FRACTIONS, record
from gflow._walls import no_walls
from points import start_of


RTOL = 1e-6
ORDERS = {
    "Kvaerno3": (gflow.solvers.SampleSpaceKvaerno3(stage_tol=1e-13), 3),
    "Kvaerno5": (gflow.solvers.SampleSpaceKvaerno5(stage_tol=1e-13), 5),
    "Switching": (gflow.solvers.Switching(), 5),
}
COUNTS = (8, 12, 16, 24)
TOTAL = 3.0


@eqx.filter_jit
def fixed_step(solver, field, point, log_radius, dual, gradient, length):
    """One step in its frame: a quarter of it, and all that the next begins with."""
    zero = jnp.zeros(())
    start = field, point, log_radius, dual, gradient, no_walls(point.size)
    frame = make_frame(*start, length, RTOL)
    state = solver.init(TERM, zero, zero, point, frame)
    end, _, dense, state, result = solver.step(
        TERM, zero, length, point, frame, state, jnp.asarray(True)
    )
    inside = solver.interpolation_cls(t0=zero, t1=length, **dense)
    between = jax.vmap(inside.evaluate)(length * FRACTIONS[1:-1])
    coordinates = jnp.concatenate([point[None], between, end[None]])
    sides = jnp.tile(field.gates.on[None], (FRACTIONS.size, 1, 1))
    duals = jnp.concatenate([inside.dual, state.dual[None]])
    step, margins = record(frame, length, coordinates, sides, zero, -jnp.inf, duals)
    there = arrive(frame, length, end, state.dual, state.slope, margins[-1])
    norm = jnp.linalg.norm(there.point)
    quarter = jnp.exp(step.rates / 4) * step.nodes[0]
    length = jnp.linalg.norm(quarter)
    quarter = jnp.append(
        quarter / length, log_radius + step.growth / 4 + jnp.log(length)
    )
    return (
        jnp.append(there.point / norm, step.log_radius),
        quarter,
        (there.point / norm, step.log_radius, there.dual, there.gradient),
        result,
    )


def fixed_steps(solver, count):
    """The ends and the first quarters of equal steps of a deep linear network.

    Of degree 2: there the clock of growth is that of the flow, and all meet.
    """
    flow, _ = problem("linear, exponential")
    network = gflow.nn.DeepLinear(10, (6,), key=jr.key(2))
    field = Field(flow, network, gflow.clocks.Polar(), 2.0)
    point, log_radius = start_of(field, network)
    dual = field.dual_weights(field.margins(point), log_radius, jnp.ones(20, bool))
    _, gradient = field.negative_gradient(point, dual)
    carry = point, log_radius, dual, gradient
    ends, quarters = [], []
    for _ in range(count):
        end, quarter, carry, result = fixed_step(
            solver, field, *carry, jnp.asarray(TOTAL / count)
        )
        assert result == dfx.RESULTS.successful
        ends.append(end)
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
    # The leading term of explicit steps is small here: they converge faster at first.
    most = 1.0 if isinstance(solver, gflow.solvers.Switching) else 0.3
    assert -0.3 <= fitted_order(errors) - order <= most


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
    [
        dfx.Tsit5(),
        pytest.param(dfx.Dopri8(), marks=pytest.mark.slow),
        dfx.Kvaerno5(),
        gflow.solvers.SampleSpaceKvaerno3(),
    ],
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


def test_explicit_solvers_count_their_gradients():
    found = gflow.solve(
        *problem("cubic"),
        until=gflow.Until(log_t=1.0),
        solver=dfx.Tsit5(),
        progress=False,
    )
    attempts = found.stats["steps"] + found.stats["rejected"]
    # Seven stages, with at least the forward passes for the record, and the start.
    assert found.stats["gradients"] > 7 * attempts
    loose = gflow.solve(
        *problem("cubic"),
        until=gflow.Until(log_t=1.0),
        solver=dfx.Heun(),
        rtol=1e-3,
        progress=False,
    )
    each = loose.stats["gradients"] / (loose.stats["steps"] + loose.stats["rejected"])
    dear = found.stats["gradients"] / attempts
    # Seven stages and two; the start counts too.
    assert 4 < dear - each < 7
