"""The memory that a trajectory may take."""

import gflow
import jax
import numpy as np
import pytest
from curves import problem, same
from gflow._integrate import _drive
from gflow._integrate._budget import COPIES


END = gflow.Until(log_t=1e4)


def solve(**options):
    options = {"until": END, "progress": False} | options
    return gflow.solve(*problem("relu2"), **options)


@pytest.fixture(scope="module")
def whole():
    return solve()


def bytes_of(curve):
    moving = (curve.tau, curve.log_t, curve.log_radius, curve.log_loss, curve.weights)
    arrays = (moving, jax.tree.leaves(curve.direction), curve.steps)
    return sum(leaf.nbytes for leaf in jax.tree.leaves(arrays) if hasattr(leaf, "size"))


def equal(one, other):
    leaves = zip(*map(jax.tree.leaves, (one, other)), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


def test_by_default_all_steps_are_kept(whole):
    assert whole.stats["kept"] == "all steps"
    assert "kept" not in repr(whole)


def test_dense_output_goes_first(whole):
    size = bytes_of(whole[:])
    found = solve(memory=1.5 * COPIES * size)
    assert found.steps is None
    assert bytes_of(found) <= 1.5 * size
    assert np.array_equal(found.tau, whole.tau)
    assert np.array_equal(found.weights, whole.weights)
    assert equal(found.direction, whole.direction)
    assert "no dense output: `memory` is" in found.stats["kept"]
    assert found.stats["kept"] in " ".join(repr(found).split())
    with pytest.raises(ValueError, match="more than `memory`"):
        found.at(log_t=1.0)


@pytest.mark.parametrize("share", [0.7, 0.3, 0.1])
@pytest.mark.parametrize("chunk", [1, 64])
def test_then_points_are_thinned_out(monkeypatch, whole, share, chunk):
    monkeypatch.setattr(_drive, "CHUNK_STEPS", chunk)
    size = bytes_of(whole[:])
    found = solve(memory=share * COPIES * size)
    assert bytes_of(found) <= share * size * 1.05
    stride = int(np.flatnonzero(np.asarray(whole.tau) == np.asarray(found.tau)[1])[0])
    assert stride >= 1 / share
    kept = np.unique(np.append(np.arange(0, len(whole), stride), len(whole) - 1))
    assert np.array_equal(found.tau, np.asarray(whole.tau)[kept])
    assert np.array_equal(found.log_loss, np.asarray(whole.log_loss)[kept])
    word = "second point" if stride == 2 else f"{stride}th point"
    assert f"every {word}, no dense output" in found.stats["kept"]


def test_a_resumed_solve_keeps_to_it(whole, tmp_path):
    path, memory = tmp_path / "run.ckpt", 0.4 * COPIES * bytes_of(whole[:])
    at_once = solve(memory=memory)
    half = whole.stats["steps"] // 2
    solve(memory=memory, checkpoint=path, max_steps=half, throw=False)
    found = gflow.resume(path, *problem("relu2"), progress=False, max_steps=10_000)
    assert np.array_equal(found.tau, at_once.tau)
    assert same(found, at_once)
    assert found.stats["kept"] == at_once.stats["kept"]


def test_what_is_asked_for_must_fit():
    times = np.linspace(0.0, 10.0, 100)
    with pytest.raises(ValueError, match=r"`memory` must be at least .* for 100 point"):
        solve(save=gflow.SaveAt(log_t=times), memory=1e4)
    seen = solve(
        save=gflow.SaveAt(log_t=times, observables=gflow.margins.normalized), memory=1e4
    )
    assert len(seen.observables) == 100
    with pytest.raises(ValueError, match=r"`memory` must be at least .* for 2 points"):
        solve(memory=100.0)
    with pytest.raises(ValueError, match=r"`memory` must be a positive number"):
        solve(memory=-1.0)


@pytest.mark.parametrize("clock", [gflow.clocks.LogTime(), gflow.clocks.Loss()])
def test_points_are_kept_where_the_clock_stands_still(clock):
    # Past R = e^709 time has no next number, nor has a loss.
    until = gflow.Until(log_margin_scale=2e4)
    whole = solve(until=until, clock=clock)
    assert np.sum(whole.tau == whole.tau[-1]) > 2
    found = solve(until=until, clock=clock, memory=0.3 * COPIES * bytes_of(whole[:]))
    assert whole.log_radius[-1] == found.log_radius[-1]
    assert np.all(np.isin(found.log_radius, whole.log_radius))
    places = np.searchsorted(whole.log_radius, found.log_radius)
    assert places[0] == 0
    strides = np.diff(places)
    assert np.all(strides[:-1] == strides[0])
    assert 0 < strides[-1] <= strides[0]
