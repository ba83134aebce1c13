"""Each level of `Until` ends the solve, exactly where it is met."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curves import curve, problem


def solve(**levels):
    return gflow.solve(
        *problem("relu2"), until=gflow.Until(**levels), progress=False, throw=False
    )


def value(trajectory, level):
    if level == "log_margin_scale":
        return trajectory.degree * trajectory.log_radius[-1]
    return getattr(trajectory, level)[-1]


LEVELS = [
    ("log_t", -2.5),
    ("log_t", 0.0),
    ("log_t", 1e9),
    ("log_t", 1e300),
    ("log_radius", 2.0),
    ("log_margin_scale", 10.0),
    ("log_margin_scale", 1000.0),
    ("log_loss", -1.5),
    ("log_loss", -1e6),
]


@pytest.mark.parametrize(("level", "target"), LEVELS)
def test_the_last_sample_lies_on_the_level(level, target):
    trajectory = solve(**{level: target})
    assert trajectory.result == gflow.RESULTS.successful
    assert trajectory.stats["stopped_by"] == level
    assert value(trajectory, level) == pytest.approx(target, rel=1e-14)
    sign = -1 if level == "log_loss" else 1
    if level != "log_margin_scale":
        assert np.all(sign * getattr(trajectory, level)[:-1] < sign * target)


@pytest.mark.parametrize(("level", "target"), [LEVELS[k] for k in (0, 4, 5, 7)])
def test_the_landing_is_on_the_curve(level, target):
    trajectory = solve(**{level: target})
    # The last step ends there, as accurate as others (see `test_solve_accuracy`),
    # against a solve that is much more so.
    expected = curve("relu2", 1e-8).at(tau=trajectory.tau[-1:])
    found = trajectory.at(tau=trajectory.tau[-1:])
    for name in ("log_t", "log_radius", "log_loss"):
        a, b = getattr(found, name), getattr(expected, name)
        assert getattr(trajectory, name)[-1] == pytest.approx(a[0], rel=1e-12)
        assert a == pytest.approx(b, rel=60e-6)


def test_the_dense_output_of_the_last_step_is_that_of_the_curve():
    trajectory = solve(log_t=1.0)
    tau = np.linspace(float(trajectory.tau[-2]), float(trajectory.tau[-1]), 7)
    found, expected = (c.at(tau=tau) for c in (trajectory, curve("relu2")))
    assert np.allclose(found.log_t, expected.log_t, rtol=5e-6, atol=5e-6)
    assert np.allclose(found.log_radius, expected.log_radius, rtol=5e-6)


def test_converged_is_the_tangent_of_the_angle_to_the_gradient():
    trajectory = solve(converged=1e-3)
    assert trajectory.stats["stopped_by"] == "converged"
    flow, _ = problem("relu2")
    end = trajectory.field
    direction = jnp.concatenate(
        [np.ravel(leaf[-1]) for leaf in trajectory.direction.weights]
    )
    z, gradient = end.negative_gradient(direction, jnp.asarray(trajectory.weights[-1]))
    along = jnp.dot(direction, gradient)
    tangent = float(jnp.linalg.norm(gradient - along * direction) / along)
    assert tangent <= 1e-3
    assert np.all(np.asarray(z) > 0)
    assert z.shape == flow.y.shape


def test_the_first_level_met_ends_the_solve():
    both = solve(log_t=1e3, log_radius=2.0)
    assert both.stats["stopped_by"] == "log_radius"
    assert both.log_radius[-1] == pytest.approx(2.0, rel=1e-14)
    assert both.log_t[-1] < 1e3
    other = solve(log_t=0.5, log_radius=50.0)
    assert other.stats["stopped_by"] == "log_t"
    assert other.log_t[-1] == 0.5


def test_two_levels_in_one_step_end_at_the_earlier():
    one = solve(log_t=1e9)
    radius = float(one.log_radius[-1])
    for gap in (-1e-3, 1e-3):
        both = solve(log_t=1e9, log_radius=radius + gap)
        assert both.log_t[-1] <= 1e9
        assert both.log_radius[-1] <= radius + max(gap, 0) + 1e-12


@pytest.mark.parametrize("scale", [1e-2, 1e-3])
def test_a_level_within_a_long_rest_is_met_without_a_word(scale):
    # Of degree 40 from small weights: one step, of which tiny shares underflow.
    random = np.random.default_rng(1)
    x = random.normal(size=(5, 4))
    network = gflow.nn.MLP(4, (5, 5, 5), power=3, key=jax.random.key(0))
    network = jax.tree.map(lambda w: scale * w, network)
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0]))
    until = gflow.Until(log_t=18.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    assert curve.log_t[-1] == 18.0
    assert curve.log_loss[-1] == pytest.approx(np.log(np.log(2)), abs=1e-9)
