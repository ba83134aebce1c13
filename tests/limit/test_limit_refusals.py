"""Limits that are degenerate, and those that are refused."""

import signal

import gflow
import numpy as np
import pytest
from gflow import Until
from gflow._limit import stability
from gflow._limit.model import Model
from scipy.sparse.linalg import ArpackNoConvergence
from test_limit import TOY_MARGIN, cut, run_of


def test_repeated_samples_share_a_multiplier():
    """Twice the same sample: gradients are dependent, the limit is the same."""
    flow, network = gflow.problems.relu2()
    twice = gflow.GradientFlow(
        flow.loss, np.concatenate([flow.x, flow.x]), np.concatenate([flow.y, flow.y])
    )
    until = Until(log_margin_scale=100.0)
    run = gflow.solve(twice, network, until=until, rtol=1e-6, progress=False)
    limit = gflow.limit(run)
    assert limit.verdict == "local maximum"
    assert limit.certificate.gap < 1e-12
    assert abs(limit.margin / TOY_MARGIN - 1) < 2e-12
    assert np.array_equal(
        limit.certificate.active[limit.certificate.active >= 20] - 20,
        limit.certificate.active[limit.certificate.active < 20],
    )


def test_an_unfitted_network_has_no_limit():
    _, run = run_of("relu2", 100.0, 1e-8)
    limit = gflow.limit(cut(run, 0))
    assert limit.verdict == "not yet"
    assert "9 of 20 margins are not positive" in str(limit)


def test_bad_arguments_are_named():
    _, run = run_of("relu2", 100.0, 1e-8)
    with pytest.raises(ValueError, match=r"`curve` must be what `gflow.solve` or"):
        gflow.limit(run[-1])
    with pytest.raises(ValueError, match="`curve` must have points"):
        gflow.limit(run[:0])
    for name in ("tolerance", "reach"):
        with pytest.raises(ValueError, match=f"`{name}` must be positive, but is 0"):
            gflow.limit(run, **{name: 0.0})


def test_rates_that_are_not_found_are_said_to_be(monkeypatch):
    _, run = run_of("relu2", 100.0, 1e-8)
    monkeypatch.setattr(stability, "MOST_DENSE", 10)
    assert gflow.limit(run).verdict == "local maximum"

    def lost(*args, **options):
        assert options["maxiter"] == stability.RESTARTS
        raise ArpackNoConvergence("", np.zeros(3), np.zeros((1, 3)))

    monkeypatch.setattr(stability, "eigsh", lost)
    limit = gflow.limit(run)
    assert limit.verdict == "not shown"
    assert "has found 3 of the 12 largest growth rates of deviations" in str(limit)
    assert abs(limit.margin / TOY_MARGIN - 1) < 1e-3


@pytest.mark.usefixtures("heard")
def test_ctrl_c_ends_it_and_is_told(monkeypatch):
    _, run = run_of("relu2", 100.0, 1e-8)
    monkeypatch.setattr(stability, "MOST_DENSE", 10)

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Model, "curvature_along", interrupted)
    limit = gflow.limit(run)
    assert limit.verdict == "not shown"
    assert "Stopped early, by Ctrl-C" in str(limit)
