"""Diagnostics of a flow that slides along kinks: they are of its own motion.

References are differences of the curve itself, which know nothing of gradients, and the
shortest element of Clarke's subdifferential, by quadratic programming.
"""

import dataclasses
import functools

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _pulls, _turned
from tiers import but_slow


class Plain(eqx.Module):
    """Two layers as anyone would write them."""

    w: jax.Array
    a: jax.Array

    def __call__(self, x):
        return self.a @ jnp.maximum(self.w @ x, 0.0)


def network_of(kind, seed):
    if kind == "three layers":
        return gflow.nn.MLP(2, (5, 4), key=jax.random.key(seed))
    if kind == "leaky":
        return gflow.nn.MLP(2, (9,), leak=0.2, key=jax.random.key(seed))
    rng = np.random.default_rng(seed)
    w, a = rng.normal(size=(12, 2)), rng.normal(size=12)
    return Plain(jnp.asarray(w), jnp.asarray(a))


def data(seed, samples=9):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, 2)), np.sign(rng.normal(size=samples))


@functools.cache
def run(kind, seed, clock=None, rtol=1e-7):
    flow = gflow.GradientFlow(gflow.Exponential(), *data(seed))
    until = gflow.Until(log_margin_scale=25.0)
    options = {"clock": clock, "rtol": rtol, "progress": False, "throw": False}
    curve = gflow.solve(flow, network_of(kind, seed), until=until, **options)
    assert np.any(curve.slides)  # else nothing is shown
    return curve


def vectors(curve, scaled=False):
    leaves = jax.tree.leaves(curve.network if scaled else curve.direction)
    leaves = [a for a in leaves if eqx.is_inexact_array(a)]
    return np.concatenate([np.reshape(a, (len(curve), -1)) for a in leaves], axis=1)


def _bare(point):
    """What no curve has recorded: JAX's derivative stands for its motion."""
    return dataclasses.replace(point, sides=None, slides=None)


KINDS = [("plain", 11), ("leaky", 5), ("three layers", 3)]


@pytest.mark.parametrize(("kind", "seed"), KINDS)
def test_how_fast_it_turns_is_seen_in_its_directions(kind, seed):
    curve = run(kind, seed).refined(8)
    log_radius = np.asarray(curve.log_radius)
    turned = np.linalg.norm(np.diff(vectors(curve), axis=0), axis=1)
    found = np.asarray(curve.map(gflow.kkt.turning))
    grows = np.diff(log_radius) > 1e-9
    rate = turned[grows] / np.diff(log_radius)[grows]
    slope = ((found[1:] + found[:-1]) / 2)[grows]
    slides = np.any(curve.slides, axis=(1, 2))[1:][grows]
    known = np.isfinite(slope) & (turned[grows] > 1e-12)
    assert np.sum(known & slides) > 50
    off = np.abs(rate / slope - 1)[known]
    # All but where it turns a corner between two of them, which few steps do.
    assert np.quantile(off, 0.9) < 1e-3
    bare = np.asarray(curve.map(lambda point: gflow.kkt.turning(_bare(point))))
    bare = ((bare[1:] + bare[:-1]) / 2)[grows]
    assert np.mean(np.abs(rate / bare - 1)[known & slides] > 1e-2) > 0.3


@pytest.mark.parametrize(("kind", "seed"), KINDS)
def test_it_is_the_shortest_subgradient(kind, seed):
    some = run(kind, seed)[::7]
    # Kinks behind others are kept to within the tolerance: more than these may tie.
    near, rtol = (1e-7, 5e-3) if kind == "three layers" else (None, 1e-7)
    shortest = some.map(
        functools.partial(gflow.kkt.min_norm_subgradient, active_tol=near)
    )
    shortest = shortest.element
    for diagnostic in (gflow.kkt.turning, gflow.kkt.alignment):
        found = np.asarray(some.map(diagnostic))
        expected = np.asarray(some.map(diagnostic, shortest))
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-9)


def test_dependent_normals_and_none_are_projected_off():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 7))
    given = np.stack([rows[0], 1e-30 * rows[1], rows[2], 2 * rows[0], 0 * rows[0]])
    vector = rng.normal(size=7)
    expected = vector - rows.T @ np.linalg.lstsq(rows.T, vector)[0]
    np.testing.assert_allclose(_pulls._off(given, vector), expected, atol=1e-14)


def test_a_limit_on_kinks_is_a_kkt_point_by_its_own_gates():
    curve = run("plain", 11)
    later = gflow.solve(
        curve.flow, curve[-1].direction, until=gflow.Until(log_margin_scale=90.0),
        rtol=1e-8, progress=False,
    )  # fmt: skip
    limit = gflow.limit(later)
    assert limit.certificate.slides.size > 0
    assert gflow.kkt.residual(limit.point).stationarity < 1e-12
    assert gflow.kkt.residual(later[-1]).stationarity < 1e-5
    assert gflow.kkt.residual(_bare(later[-1])).stationarity > 1e-3


@pytest.mark.parametrize("seed", but_slow([11, 4], 4))
def test_arc_length_is_that_of_the_path(seed):
    curve = run("plain", seed, gflow.clocks.ArcLength(), 1e-6).refined(32)
    steps = np.linalg.norm(np.diff(vectors(curve, scaled=True), axis=0), axis=1)
    assert abs(np.sum(steps) / float(curve.tau[-1]) - 1) < 1e-3


def test_an_event_and_observables_see_the_motion():
    x, y = data(11)
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)

    def event(point):
        return gflow.kkt.alignment(point) - 0.999

    until = gflow.Until(log_margin_scale=25.0, event=event)
    network, quiet = network_of("plain", 11), {"rtol": 1e-7, "progress": False}
    curve = gflow.solve(flow, network, until=until, **quiet)
    assert curve.stats["stopped_by"] == "event"
    assert np.any(curve.slides[-1])
    assert abs(gflow.kkt.alignment(curve[-1]) - 0.999) < 1e-6
    assert gflow.kkt.alignment(_bare(curve[-1])) < 0.99
    times = np.asarray(curve.log_t)[len(curve) // 2 :: 9] + 1e-3
    times = times[times < float(curve.log_t[-1])]
    save = gflow.SaveAt(log_t=times.tolist(), observables=gflow.kkt.turning)
    seen = gflow.solve(flow, network, until=until, save=save, **quiet).observables
    expected = curve.at(log_t=times).map(gflow.kkt.turning)
    np.testing.assert_allclose(seen.values, expected, rtol=1e-5)


def test_within_steps_gates_are_those_of_the_point():
    curve = run("plain", 11).refined(16)
    x = np.asarray(curve.flow.x)
    u = np.einsum("tji,ni->tnj", np.asarray(curve.direction.w), x)
    clear = np.abs(u) > 1e-6 * np.max(np.abs(u), axis=1, keepdims=True)
    assert np.array_equal((u > 0)[clear], curve.gates[clear])
    still = curve.slides
    assert np.all(np.abs(u[still]) < 1e-9)
    assert not np.any(curve.gates[still])


@pytest.mark.parametrize("factor", [1e-2, 1e2])
def test_what_counts_as_zero_is_of_no_matter(factor, monkeypatch):
    curve = run("plain", 11)
    turning = np.asarray(curve.map(gflow.kkt.turning))
    gates = curve.refined(4).gates
    for module, name in ((_pulls, "DEPENDENT"), (_turned, "CLEAR")):
        monkeypatch.setattr(module, name, factor * getattr(module, name))
    jax.clear_caches()  # what is compiled has the numbers of before
    again = np.asarray(curve.map(gflow.kkt.turning))
    np.testing.assert_allclose(again, turning, rtol=1e-9)
    assert np.array_equal(curve.refined(4).gates, gates)
    monkeypatch.undo()
    jax.clear_caches()


def test_what_slides_is_kept_in_files_and_told_of_neurons(tmp_path):
    curve = run("leaky", 5)
    curve.save(tmp_path / "run.nc")
    found = gflow.load(tmp_path / "run.nc", curve.flow, network_of("leaky", 5))
    assert np.array_equal(found.slides, curve.slides)
    neurons = np.asarray(curve.map(gflow.neurons.sliding))
    assert np.array_equal(neurons, curve.slides)
    assert np.sum(neurons[-1]) == curve.stats["slides"]
    assert not np.any(gflow.neurons.sliding(_bare(curve[-1])))
    parts = curve[3:20:4]
    assert np.array_equal(parts.slides, curve.slides[3:20:4])


@pytest.mark.parametrize("seed", but_slow([11, 2], 2))
def test_the_exponent_of_a_limit_on_kinks_is_one_half(seed):
    """As of every limit at which the margin is curved, along the kinks at least."""
    flow = gflow.GradientFlow(gflow.Exponential(), *data(seed))
    until = gflow.Until(log_margin_scale=40.0)
    network = network_of("plain", seed)
    curve = gflow.solve(flow, network, until=until, rtol=1e-7, progress=False)
    assert curve.stats["slides"] > 0
    found = gflow.kl.desingularize(curve)
    assert abs(found.exponent - 0.5) < 0.05
    inner = curve.refined(32)
    steps = np.linalg.norm(np.diff(vectors(inner), axis=0), axis=1)
    ahead = np.append(np.cumsum(steps[::-1])[::-1], 0.0)[::32]
    last = int(np.flatnonzero(found.resolved)[-1])
    ahead = ahead - ahead[last] + found.tail
    far = ahead > 1e-3  # nearer a step on which a gate turns is not small
    known = far & np.isfinite(found.remaining)
    assert np.sum(known) > 50
    np.testing.assert_allclose(found.remaining[known], ahead[known], rtol=1e-2)
