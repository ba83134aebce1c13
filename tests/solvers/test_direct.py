"""Stages of many margins and few weights, solved for the weights alone."""

import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gflow._field import Field
from gflow._framing import make_frame
from gflow._solvers import _direct, _iteration, sample_space
from gflow._solvers._model import curved_model, flat_model
from gflow._walls import no_walls
from jax.flatten_util import ravel_pytree
from points import start_of
from tiers import but_slow


LOSSES = {
    "logistic": gflow.Logistic(),
    "exponential": gflow.Exponential(),
    "cross entropy": gflow.CrossEntropy(),
    "square": gflow.Square(),
}


def tall(loss, samples=90, features=4, width=3, seed=5, spread=1.0):
    """A flow with more margins than twice its weights."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, features)) * spread ** np.arange(features)
    truth = random.normal(size=features) / spread ** np.arange(features)
    y, out = np.sign(x @ truth + 0.3 * random.normal(size=samples)), "scalar"
    if loss == "cross entropy":
        y, out = random.integers(0, 3, size=samples), 3
    network = gflow.nn.MLP(
        features, (width,), out, power=2, leak=-1.0, key=jr.key(seed)
    )
    return gflow.GradientFlow(LOSSES[loss], x, y), network


@pytest.mark.parametrize("eta", [0.2, 20.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_whole_matrix_is_the_derivative_of_the_stage(loss, eta):
    flow, network = tall(loss)
    degree = math.nan if loss == "square" else 3.0
    clock = gflow.clocks.LogTime() if loss == "square" else gflow.clocks.Polar()
    field = Field(flow, network, clock, degree)
    point, log_radius = start_of(field, network)
    dual = field.dual_weights(field.margins(point), log_radius, jnp.asarray(True))
    _, gradient = field.negative_gradient(point, dual)
    vector = jnp.cos(jnp.arange(point.size))

    @eqx.filter_jit
    def both(field, point, log_radius, dual, gradient, eta):
        start = field, point, log_radius, dual, gradient, no_walls(point.size)
        frame = make_frame(*start, eta, 1e-6)
        flat, zero = flat_model(frame, 1 + eta * frame.rate, eta), jnp.zeros(())
        model = curved_model(
            frame, point, dual, zero, eta, frame.weight, flat, jnp.asarray(True)
        )

        def defect(x):
            q = frame.dual_weights(field.margins(x), zero)
            motion = frame.negative_gradient(zero, x, q)[1]
            return x - eta * (motion - frame.rate * x)

        return jax.jacfwd(defect)(point), model.whole.undo(vector)

    start = field, point, log_radius, dual, gradient, jnp.asarray(eta)
    matrix, undone = both(*start)
    error = np.max(np.abs(matrix @ undone - vector))
    assert error <= 1e-13 * np.linalg.cond(matrix)


def network_at(curve):
    """The direction at the end, as one vector."""
    leaves = jax.tree.leaves(curve[-1].direction)
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def exact_direction(flow, network, log_t):
    """The same by SciPy."""
    weights = ravel_pytree(gflow.testing.follow(flow, network, log_t))[0]
    return weights / np.linalg.norm(weights)


def off(curve, exact):
    """How far the end of a curve is from another direction."""
    return np.linalg.norm(network_at(curve) - exact)


@pytest.mark.parametrize("spread", [1.0, 3.0, 10.0])
@pytest.mark.parametrize("loss", but_slow(LOSSES, "cross entropy", "exponential"))
def test_tall_flows_agree_with_scipy(loss, spread):
    # Raw features, as spread as those of real data: their rates differ by its square.
    flow, network = tall(loss, samples=150, features=5, width=2, spread=spread)
    network = jax.tree.map(lambda w: 0.1 / spread**2 * w, network)
    exact = exact_direction(flow, network, 4.0)
    until = gflow.Until(log_t=4.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    assert off(curve, exact) <= 50 * 1e-6


def raw():
    """A flow on features of many sizes, whose stages are solved directly."""
    flow, network = tall("logistic", samples=150, features=5, width=2, spread=10.0)
    return flow, jax.tree.map(lambda w: 1e-3 * w, network)


@pytest.fixture(scope="module")
def exact():
    """Where it is at log t = 4, by SciPy."""
    return exact_direction(*raw(), 4.0)


def solve_raw():
    return gflow.solve(*raw(), until=gflow.Until(log_t=4.0), progress=False)


CONSTANTS = {
    "smaller": [
        (sample_space, "DIRECT", 1),
        (_iteration, "TRIES", 0),
        (_direct, "LOOSE", 1.2),
        (_direct, "STIFF", 0.03),
        (_direct, "SHARP", 0.03),
    ],
    "larger": [
        (sample_space, "DIRECT", 3),
        (_iteration, "TRIES", 9),
        (_direct, "LOOSE", 10.0),
        (_direct, "STIFF", 3.0),
        (_direct, "SHARP", 10.0),
    ],
    "others": [
        (_iteration, "UNSURE", 20.0),
        (_direct, "DIGITS", 1e-1),
        (_direct, "CAPPED", 1e-3),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("group", CONSTANTS)
def test_no_constant_decides_where_a_tall_flow_leads(group, monkeypatch, exact):
    for module, name, value in CONSTANTS[group]:
        assert getattr(module, name) != value
        monkeypatch.setattr(module, name, value)
    jax.clear_caches()
    curve = solve_raw()
    jax.clear_caches()
    assert off(curve, exact) <= 50 * 1e-6


@pytest.mark.slow
def test_stages_for_the_weights_alone_are_the_same_flow(monkeypatch):
    flow, network = tall("exponential", samples=150, features=5, width=2, spread=3.0)
    network = jax.tree.map(lambda w: 0.1 / 9 * w, network)
    until, exact = gflow.Until(log_t=4.0), exact_direction(flow, network, 4.0)
    jax.clear_caches()
    direct = gflow.solve(flow, network, until=until, progress=False)
    monkeypatch.setattr(sample_space, "DIRECT", 0)
    jax.clear_caches()
    both = gflow.solve(flow, network, until=until, progress=False)
    jax.clear_caches()
    assert not np.array_equal(direct.tau, both.tau)  # they were
    assert max(off(direct, exact), off(both, exact)) <= 50 * 1e-6


def test_an_error_in_a_matrix_that_is_far_too_stiff_proves_nothing():
    flow, network = tall("exponential")
    field = Field(flow, network, gflow.clocks.Polar(), 3.0)
    point, log_radius = start_of(field, network)
    dual = field.dual_weights(field.margins(point), log_radius, jnp.asarray(True))
    _, gradient = field.negative_gradient(point, dual)
    eta = jnp.asarray(50.0)
    start = field, point, log_radius, dual, gradient, no_walls(point.size)
    frame = make_frame(*start, eta, 1e-6)
    whole = flat_model(frame, jnp.ones(point.size), eta).whole
    assert not whole.overstates(whole.follows)
    assert not whole.overstates(0.5 * whole.follows)
    held = jnp.argmax(whole.stiffness)
    assert whole.overstates(whole.follows.at[held].multiply(1e-3))
    free = eqx.tree_at(lambda w: w.stiffness, whole, 1e-3 * whole.stiffness / 50)
    assert not free.overstates(0 * whole.follows)


@pytest.mark.parametrize(("loss", "size", "tame"), [
    (gflow.Exponential(), 1e3, True),
    (gflow.Exponential(), 1e6, False),  # by its errors, of a share of rtol
    (gflow.Logistic(), 1e3, True),
    (gflow.ExponentialTail(3.0), 1e1, True),
    (gflow.ExponentialTail(3.0), 1e3, False),  # log g changes by 3e9
    (gflow.ExponentialTail(3.0), 1e30, False),  # where the scale is capped
    (gflow.ExponentialTail(0.5), 1e3, True),
    (gflow.Square(), 1e6, True),
])  # fmt: skip
def test_dual_weights_are_tame_as_far_as_errors_do_not_change_them(loss, size, tame):
    flow, network = tall("exponential")
    flow = gflow.GradientFlow(loss, flow.x, flow.y)
    square = isinstance(loss, gflow.Square)
    clock = gflow.clocks.LogTime() if square else gflow.clocks.Polar()
    field = Field(flow, network, clock, math.nan if square else 3.0)
    point, _ = start_of(field, network)
    margins = field.margins(point)
    log_radius = jnp.asarray((math.log(size) - jnp.log(jnp.max(jnp.abs(margins)))) / 3)
    dual = field.dual_weights(margins, log_radius, jnp.asarray(True))
    _, gradient = field.negative_gradient(point, dual)
    start = field, point, log_radius, dual, gradient, no_walls(point.size)
    frame = make_frame(*start, jnp.ones(()), 1e-6)
    assert bool(_direct.is_tame(frame)) == tame
