"""Limits that are degenerate, and those that are refused."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import Until
from test_limit import TOY_MARGIN, cut, run_of


def test_repeated_samples_share_a_multiplier():
    """Twice the same sample: gradients are dependent, the limit is the same."""
    flow, network = gflow.problems.relu2()
    twice = gflow.GradientFlow(
        flow.loss, np.concatenate([flow.x, flow.x]), np.concatenate([flow.y, flow.y])
    )
    until = Until(log_margin_scale=100.0)
    run = gflow.solve(twice, network, until=until, rtol=1e-6, progress=False)
    limit = gflow.limit(twice, run)
    assert limit.verdict == "local maximum"
    assert limit.gap < 1e-12
    assert abs(limit.margin / TOY_MARGIN - 1) < 2e-12
    assert np.array_equal(
        limit.active[limit.active >= 20] - 20, limit.active[limit.active < 20]
    )


class Hat(eqx.Module):
    """The Mexican hat of theory.md, section 3, of degree 2."""

    w: jax.Array

    def __call__(self, x):
        r2 = jnp.sum(self.w**2)
        s2 = (self.w[0] ** 2 + self.w[1] ** 2) / r2
        c = jnp.maximum(1 - s2, 1e-3)
        psi = jnp.arctan2(self.w[1], self.w[0]) - 1 / c
        depth = 4 * s2**2 / (4 * s2**2 + c**3)
        return r2 * (1 - jnp.exp(-1 / c) * (1 - depth * jnp.sin(psi))) * x[0]


@pytest.mark.parametrize("height", [0.6, 0.05])
def test_a_hat_that_is_circled_for_ever_is_not_certified(height):
    """From the valley, and from the circle itself, where all derivatives vanish."""
    x, y = np.array([[1.0], [-1.0]]), np.array([1.0, -1.0])
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    network = Hat(jnp.array([np.sqrt(1 - height**2), 0.0, height]))
    run = gflow.solve(
        flow,
        network,
        until=Until(log_margin_scale=5.0),
        rtol=1e-6,
        max_steps=2000,
        progress=False,
        throw=False,
    )
    assert gflow.limit(flow, run).verdict == "not yet"


def test_an_unfitted_network_has_no_limit():
    flow, run = run_of("relu2", 100.0, 1e-8)
    limit = gflow.limit(flow, cut(run, 0))
    assert limit.verdict == "not yet"
    assert "9 of 20 margins are not positive" in str(limit)


def test_bad_arguments_are_named():
    flow, run = run_of("relu2", 100.0, 1e-8)
    with pytest.raises(ValueError, match="`flow` must be the one that"):
        gflow.limit(gflow.GradientFlow(flow.loss, 2 * flow.x, flow.y), run)
    for name in ("tolerance", "reach"):
        with pytest.raises(ValueError, match=f"`{name}` must be positive, but is 0"):
            gflow.limit(flow, run, **{name: 0.0})
