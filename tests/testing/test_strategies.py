"""What is drawn is what it says, shrinks to something small, and is reproducible."""

import math

import gflow
import gflow.testing.strategies as gst
import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from gflow import _tree
from hypothesis import given, settings


few = settings(max_examples=8)


@few
@given(loss=gst.losses("signs"))
def test_losses_are_for_the_labels_asked_for(loss):
    assert "signs" in loss.labels


@pytest.mark.parametrize("kind", ["signs", "classes", "targets"])
@given(drawn=st.data())
def test_data_has_the_labels_and_sizes_asked_for(kind, drawn):
    sizes = {"samples": (3, 9), "features": (2, 4), "classes": (3, 5)}
    x, y = drawn.draw(gst.data(kind, **sizes))
    assert 3 <= len(x) <= 9
    assert 2 <= x.shape[1] <= 4
    assert np.all(np.any(x != 0, axis=1))
    assert x.shape[:1] == y.shape
    if kind == "signs":
        assert np.all(np.abs(y) == 1)
    elif kind == "classes":
        assert np.array_equal(np.unique(y), np.arange(y.max() + 1))


@few
@given(
    network=gst.networks(
        2, width=(2, 3), depth=(1, 3), powers=(1, 2), leaks=(0.0,), scale=(1e-9, 3.0)
    )
)
def test_networks_have_the_sizes_and_scales_asked_for(network):
    size = max(float(np.max(np.abs(a))) for a in jax.tree.leaves(network))
    assert 1e-12 < size < 30
    assert network(np.ones(2)).shape == ()
    assert network.degree >= 1


@few
@given(
    problem=gst.problems(
        gst.flows(gst.losses("signs"), samples=(2, 2), features=(2, 2)),
        depth=(2, 2), width=(2, 2), powers=(2,), leaks=(0.0,), residual=False,
    )
)  # fmt: skip
def test_problems_can_be_evaluated(problem):
    flow, network = problem
    assert math.isfinite(flow.log_loss(network))


def smallest(strategy, condition):
    """What a failing example shrinks to."""
    return hypothesis.find(
        strategy, condition, settings=settings(max_examples=200, database=None)
    )


def test_problems_shrink_to_small_ones():
    flow, network = smallest(gst.problems(), lambda p: p.flow.samples >= 4)
    assert repr(flow.loss) == "Logistic()"
    assert flow.x.shape == (4, 1)
    assert isinstance(network, gflow.nn.DeepLinear)
    assert [leaf.shape for leaf in jax.tree.leaves(network)] == [(1,)]
    exact = gflow.nn.DeepLinear(1, (), key=jax.random.key(0))
    assert np.array_equal(_tree.vector(network), _tree.vector(exact))


def test_a_failure_tells_how_to_build_it(capsys):
    @settings(database=None, derandomize=True, max_examples=30)
    @given(problem=gst.problems())
    def fails(problem):
        assert problem.flow.samples < 3

    with pytest.raises(AssertionError) as error:
        fails()
    told = "\n".join([*getattr(error.value, "__notes__", []), capsys.readouterr().out])
    for part in ("loss = gflow.Logistic()", "x = np.array(", "gflow.nn.DeepLinear(1"):
        assert part in told


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="`depth` must hold"):
        smallest(gst.networks(depth=(0, 2)), lambda _: True)
    with pytest.raises(ValueError, match="`scale` must hold"):
        smallest(gst.networks(scale=(0.0, 1.0)), lambda _: True)
