"""Limits at which second derivatives jump: no deviation beyond is known to decay."""

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow._limit import kinks


X, Y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, 1.0])


def end_of(power, aside):
    """Two neurons, each off at the other's sample, or on by a little."""
    network = gflow.nn.MLP.from_weights(
        [jnp.array([[1.0, aside], [aside, 1.0]]), jnp.array([0.7, 0.8])], power=power
    )
    flow = gflow.GradientFlow(gflow.Exponential(), X, Y)
    until = gflow.Until(log_margin_scale=60.0)
    return gflow.limit(gflow.solve(flow, network, until=until, progress=False))


@pytest.mark.parametrize(("power", "aside"), [(1.5, 1e-7), (2, 1e-8), (2, 1e-6)])
def test_squared_relus_at_zero_are_known_to_first_order(power, aside, monkeypatch):
    monkeypatch.setattr(kinks, "ASIDE", aside)
    jax.clear_caches()  # what is compiled has the number of before
    end = end_of(power, -0.1)
    assert end.verdict == gflow.Verdict.FIRST_ORDER
    assert "second derivatives that jump" in str(end)
    # What turns a neuron on at the other's sample goes on to a larger margin.
    assert end_of(power, 0.01).margin > 1.2 * end.margin


def test_cubed_relus_at_zero_have_second_derivatives():
    assert end_of(3, -0.1).verdict == gflow.Verdict.LOCAL_MAXIMUM
