"""Walls that turn on a step: the step follows them, as far as they turned before."""

import equinox as eqx
import gflow
import jax
import numpy as np
import pytest
from gflow._walls import between, no_walls, turning
from hypothesis import given, strategies as st
from lost_samples import problem, solved


def weights(curve):
    """Of each sample, one a row."""
    leaves = [np.asarray(a) for a in jax.tree.leaves(curve.network)]
    return np.concatenate([a.reshape(len(a), -1) for a in leaves], axis=1)


@given(angle=st.floats(0, 0.2), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_directions_between_two_planes_are_orthonormal_and_halfway_between(
    angle, share, seed
):
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(7, 4)))[0].T

    def plane(angle):
        """Two directions, turned by an angle and by a third of it."""
        turns = angle * np.array([1, 1 / 3])[:, None]
        return np.cos(turns) * frame[:2] + np.sin(turns) * frame[2:]

    rows = np.asarray(between(plane(0.0), plane(angle), share))
    assert np.allclose(rows @ rows.T, np.eye(2), atol=1e-9)
    half = np.asarray(between(plane(0.0), plane(angle), 0.5))
    assert np.allclose(half, plane(angle / 2), atol=1e-9)
    assert len(between(frame[:0], frame[:0], share)) == 0


def test_a_normal_that_leaps_does_not_turn():
    turned = np.array([[0.01, -0.02], [0.0, 0.9], [0.0, 0.0]])
    assert np.array_equal(turning(turned), turned * [[1], [0], [0]])
    walls = no_walls(2, room=3)
    assert not np.any(walls.in_clock(3.0).after(2.0))
    endless = eqx.tree_at(lambda w: w.turns, walls, walls.turns + np.inf)
    assert not np.any(endless.after(2.0))


@pytest.mark.parametrize("seed", [55, 110, 154])
def test_the_error_is_that_of_the_tolerance_inside_of_steps_too(seed):
    flow, network = problem(seed)
    times = np.linspace(14.0, 999.0, 25)
    rough, fine = (solved(flow, network, rtol, log_t=1e3) for rtol in (1e-6, 1e-8))
    assert rough.stats["walls"] > 0
    apart = weights(rough.at(log_t=times)) - weights(fine.at(log_t=times))
    sizes = np.linalg.norm(weights(fine.at(log_t=times)), axis=1)
    assert np.all(np.linalg.norm(apart, axis=1) <= 2e-5 * sizes)


def test_steps_are_of_the_third_order():
    flow, network = problem(59)
    few, many = (
        solved(flow, network, rtol, log_t=1e4).stats for rtol in (1e-6, 1e-8)
    )  # fmt: skip
    assert few["walls"] == many["walls"] == 2
    ratio = (many["steps"] + many["rejected"]) / (few["steps"] + few["rejected"])
    assert ratio < 1.5 * 100 ** (1 / 3)  # of the second it would be 10


@pytest.mark.parametrize(("seed", "lost"), [(127, 5), (120, 1)])
def test_far_out_it_takes_hundreds_of_steps_and_not_thousands(seed, lost):
    flow, network = problem(seed)
    curve = solved(flow, network, log_margin_scale=200.0)
    assert curve.result == gflow.RESULTS.successful
    # At most 697 from eight starts apart by rounding; of walls that stand still, 1981.
    assert curve.stats["steps"] + curve.stats["rejected"] < 1400
    log_loss = np.log(lost * np.log(2) / flow.samples)
    assert abs(float(curve.log_loss[-1]) - log_loss) < 1e-12
