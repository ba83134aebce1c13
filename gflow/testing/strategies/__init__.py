"""Hypothesis strategies for losses, data, networks and flows.

They need Hypothesis: `pip install '.[test]'`. Everything is drawn as sizes, choices
and seeds, which shrink: a failing example ends with few samples, narrow layers, weights
of scale 1 and seed 0. A test prints how to build what it failed on, without Hypothesis.

Each new shape compiles: draw around cheap algebra, or fix the sizes around a solve.

    import gflow.testing.strategies as gst

    @hypothesis.given(gst.problems())
    def test_the_loss_is_finite(problem):
        flow, network = problem
        assert math.isfinite(flow.log_loss(network))
"""

from ... import _extras


_extras.need("hypothesis", "test")

from ._data import data as data
from ._flows import flows as flows, losses as losses, problems as problems
from ._networks import networks as networks
