"""Networks of plain JAX with kinks, followed exactly.

References are closed forms, or gradient descent of the exact network with small steps,
extrapolated: it shares no code with the solver and knows nothing of kinks.
"""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _blocks, _directions, _filippov, _settled, _sides, _slides
from gflow._integrate import _events, _kept, _passages, _passed, _turns
from jax.flatten_util import ravel_pytree
from tiers import but_slow


class Plain(eqx.Module):
    """Two layers of ReLUs, as anyone would write them."""

    w: jax.Array
    a: jax.Array

    def __call__(self, x):
        return self.a @ jax.nn.relu(self.w @ x)


class Units(Plain):
    """The same, its neurons named."""

    def units(self):
        return (("hidden", None), ("hidden",))


class Mixed(eqx.Module):
    """Three layers: a leaky `where`, an absolute value, a maximum of pairs."""

    first: jax.Array
    second: jax.Array
    third: jax.Array

    def __call__(self, x):
        u = self.first @ x
        h = self.second @ jnp.where(u > 0, u, 0.2 * u)
        pairs = jnp.maximum(h[::2], h[1::2])
        return self.third @ jnp.concatenate([jnp.abs(h[:2]), pairs])


class Biased(Plain):
    """Without a degree: it moves in weight space."""

    b: jax.Array
    c: jax.Array

    def __call__(self, x):
        return self.a @ jax.nn.relu(self.w @ x + self.b) + self.c


def mixed(width, features, rng):
    shapes = [(width, features), (width, width), (2 + width // 2,)]
    return Mixed(*(jnp.asarray(rng.normal(size=s) / np.sqrt(s[-1])) for s in shapes))


def two_layers(kind, width, features, rng, scale=1.0):
    w = rng.normal(size=(width, features)) / np.sqrt(features)
    a = rng.normal(size=width) / np.sqrt(width)
    return kind(jnp.asarray(scale * w), jnp.asarray(scale * a))


def descended(flow, network, times, step):
    """The log loss at times, by gradient descent extrapolated to steps of zero."""
    moving, still = eqx.partition(network, eqx.is_inexact_array)
    start, unravel = ravel_pytree(moving)

    def log_loss(w):
        return flow.log_loss(eqx.combine(unravel(w), still))

    slope = jax.grad(lambda w: jnp.exp(log_loss(w)))

    @jax.jit
    def descend(w, step, count):
        return jax.lax.fori_loop(0, count, lambda _, w: w - step * slope(w), w)

    def run(step):
        w, counts = start, np.round(np.diff(times, prepend=0) / step).astype(int)
        found = []
        for count in counts:
            w = descend(w, step, int(count))
            found.append(log_loss(w))
        return np.array(found)

    coarse, fine = run(step), run(step / 2)
    return 2 * fine - coarse, np.abs(fine - coarse)


@pytest.mark.parametrize(
    "name",
    but_slow(["two layers", "wide", "three layers", "biases"], "wide", "three layers"),
)
def test_the_exact_flow_is_that_of_small_steps(name):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(13, 4))
    y = np.sign(x[:, 0] * x[:, 1] + 0.2)
    if name == "two layers":
        network = two_layers(Units, 7, 4, rng)
    elif name == "wide":
        network = two_layers(Units, 90, 4, rng)
    elif name == "biases":
        plain = two_layers(Plain, 7, 4, rng)
        b = jnp.asarray(0.3 * rng.normal(size=7))
        network = Biased(plain.w, plain.a, b, jnp.asarray(0.1))
    else:
        network = mixed(6, 4, rng)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    times = np.array([1.0, 4.0, 10.0, 20.0, 30.0])
    expected, error = descended(flow, network, times, 1e-3)
    until = gflow.Until(log_t=np.log(30.5))
    rtol = 1e-5 if name == "wide" else 1e-6
    curve = gflow.solve(flow, network, until=until, rtol=rtol, progress=False)
    found = curve.at(log_t=np.log(times)).log_loss
    # Else nothing is shown: in a wide network kinks are passed several at a time.
    assert curve.stats["events"] > (curve.stats["steps"] if name == "wide" else 3)
    # An event is one of first order: descent's error is then irregular too.
    assert np.all(np.abs(found - expected) <= 100 * rtol + 0.1 * error)


OTHERS = {
    "loop": (
        (_kept, "MISSED", 0.1), (_kept, "INSIDE", 1.0), (_kept, "SHARP", 1.0),
        (_kept, "RAMP", 0.5), (_kept, "CUT", 0.5), (_kept, "LAST", 1 - 1e-7),
        (_passed, "MISSED", 0.1), (_passed, "ROUNDS", 2), (_passed, "EARLY", 1e-7),
        (_passed, "SHORT", 0.3),
        (_passed, "ONTO", 3.0), (_passages, "HALVINGS", 50), (_settled, "ROUNDS", 9),
        (_settled, "PATIENCE", 1), (_settled, "ONTO", 5), (_settled, "ROUNDED", 1e-11),
        (_directions, "FLAT", 1e-4), (_passed, "ROUNDED", 1e-11),
        (_slides, "ROUNDED", 1e-11), (_slides, "LOOKS", 9), (_slides, "OUTSIDE", 1e-9),
        (_slides, "UNSEEN", 1e7), (_events, "TURNS", 6), (_events, "SHORTER", 0.3),
    ),
    "gates": (
        (_filippov, "APART", 1e-11), (_filippov, "WEAK", 1e-11),
        (_filippov, "BETWEEN", 1e-8), (_filippov, "DEPENDENT", 1e-8),
        (_filippov, "PIVOTS", 9), (_filippov, "ROUNDS", 30),
    ),
    "room": (
        (_sides, "SLIDES", (1, 1)), (_sides, "SHARE", 1 / 40), (_sides, "FULL", 0.6),
        (_settled, "HELD", 1), (_sides, "ROOM", 3), (_turns, "AT_LEAST", 1),
    ),
    "one block": (
        (_blocks, "PADDED", 0), (_directions, "AT_ONCE", 5),  # no blocks: all at once
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_hidden_numbers_are_the_same_flow(name, monkeypatch):
    """Seven ReLUs that slide, all constants of kinks changed by three times or more."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(10, 2))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0] * x[:, 1]))
    network, rtol = two_layers(Units, 7, 2, rng, 1e-3), 1e-6
    until = gflow.Until(log_t=5.0)
    times = [0.0, 1.0, 2.0, 3.0, 3.5, 4.0, 4.5]

    def losses():
        curve = gflow.solve(flow, network, until=until, rtol=rtol, progress=False)
        assert curve.stats["slides"] > 1
        return curve.at(log_t=times).log_loss

    expected = losses()
    for room, constant, value in OTHERS[name]:
        monkeypatch.setattr(room, constant, value)
    jax.clear_caches()  # what is compiled has the numbers of before
    np.testing.assert_allclose(losses(), expected, rtol=0, atol=100 * rtol)
    jax.clear_caches()


def test_small_neurons_stop_where_early_alignment_ends():
    """Three points, square loss (Boursier and Flammarion 2024, arXiv:2401.10791).

    All neurons align before they grow, and then fit one line through the data: the
    minimum over lines a x of the loss, which is a least-squares problem.
    """
    x = np.array([(-0.6, 1.0), (-0.4, 1.0), (0.2, 1.0)])
    y = np.array([1.0, 0.15, 0.7])
    rng = np.random.default_rng(5)
    w = 1e-6 * rng.normal(size=(9, 2))
    a = np.linalg.norm(w, axis=1) * np.where(np.arange(9) % 3, 1, -1)
    flow = gflow.GradientFlow(gflow.Square(), x, y)
    network = Units(jnp.asarray(w), jnp.asarray(a))
    until = gflow.Until(log_t=15.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    gflow.testing.check_trajectory(curve)
    _, residual, *_ = np.linalg.lstsq(x, y, rcond=None)
    loss = float(np.exp(curve.log_loss[-1]))
    np.testing.assert_allclose(loss, residual[0] / 6, rtol=1e-4)


@pytest.mark.parametrize("off", [(0.0, -1.3, 0.4), (0.0, 0.0, 0.0)])
def test_a_neuron_that_is_off_never_moves(off):
    """One class; the margin of the other neuron alone: |x|'s smallest height / 2."""
    x, y = np.array([[1.2, 0.5], [-1.2, 0.5]]), np.ones(2)
    network = Units(jnp.array([[0.1, 0.9], off[:2]]), jnp.array([0.8, off[2]]))
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    until = gflow.Until(log_margin_scale=60.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    margin = curve.map(gflow.margins.normalized)[-1]
    np.testing.assert_allclose(margin, 0.25, rtol=1e-6)
    log_size = np.log(np.maximum(np.abs(curve.direction.w[:, 1, 1]), 1e-300))
    moved = log_size + curve.log_radius
    if off[1] != 0:
        np.testing.assert_allclose(moved, np.log(-off[1]), atol=1e-9)
    else:
        assert np.all(curve.direction.w[:, 1] == 0)


def test_units_of_inputs_change_nothing():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(9, 3))
    y = np.sign(x @ rng.normal(size=3))
    network = two_layers(Units, 5, 3, rng)
    until = gflow.Until(log_margin_scale=25.0)
    found = []
    for unit in (1.0, 1e-5):
        scaled = jax.tree.map(lambda w, unit=unit: w / np.sqrt(unit), network)
        flow = gflow.GradientFlow(gflow.Logistic(), unit * x, y)
        curve = gflow.solve(flow, scaled, until=until, progress=False)
        margin = curve.map(lambda point, f=flow: gflow.margins.normalized(point))[-1]
        found.append(margin / unit)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_a_sample_lost_for_good_keeps_its_loss():
    """From 1e-40: escapes, sliding, and one sample that every neuron leaves.

    The points, labels and weights of the design's `xor 1`; the loss that stays is that
    of a margin of zero, log 2 for one sample of twelve.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 2))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    draw = np.asarray(jax.random.normal(jax.random.key(3), (36,)))
    w, a = draw[:24].reshape(12, 2) / np.sqrt(2), draw[24:] / np.sqrt(12)
    network = Units(jnp.asarray(1e-40 * w), jnp.asarray(1e-40 * a))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0] * x[:, 1]))
    until = gflow.Until(log_margin_scale=40.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    gflow.testing.check_trajectory(curve)
    assert curve.stats["slides"] > 0
    np.testing.assert_allclose(curve.log_loss[-1], np.log(np.log(2) / 12), rtol=1e-9)
    assert curve.stats["steps"] + curve.stats["rejected"] < 600


def test_the_first_of_two_crossings_is_found():
    """Also where u is right again at the end; its side at the start is rounding."""
    roots = np.array([[0.3, 0.6], [0.07, 0.9], [0.0, 2.0], [1.2, 3.0]])
    fractions = np.linspace(0, 1, 5)[:, None]
    u = (roots[:, 0] - fractions) * (roots[:, 1] - fractions)
    since, until = _passages.passages(jnp.asarray(u))
    expected = np.where(roots < 1, roots, np.inf)
    np.testing.assert_allclose(since, expected[:, 0], atol=1e-8)
    np.testing.assert_allclose(until, expected[:, 1], atol=1e-8)


@pytest.mark.slow
def test_attempts_do_not_grow_with_width():
    """What kinks pass by themselves costs no steps, however many they are."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(15, 6))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0] + 0.3 * x[:, 1]))
    until = gflow.Until(log_margin_scale=25.0)
    attempts, events = [], []
    for width in (8, 64):
        network = two_layers(Units, width, 6, rng, 0.3)
        curve = gflow.solve(flow, network, until=until, rtol=1e-4, progress=False)
        attempts.append(curve.stats["steps"] + curve.stats["rejected"])
        events.append(curve.stats["events"])
    assert events[1] > 3 * events[0] > 10
    assert attempts[1] < 2 * attempts[0]


def test_gates_are_those_of_the_network():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(8, 3))
    y = np.sign(x[:, 0])
    network = two_layers(Plain, 4, 3, rng)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    until = gflow.Until(log_t=4.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    u = np.einsum("ni,tji->tnj", x, curve.direction.w)
    assert curve.gates.shape == u.shape
    clear = np.abs(u) > 1e-6
    assert np.array_equal((u > 0)[clear], curve.gates[clear])


def test_a_curve_on_kinks_comes_back_from_its_file(tmp_path):
    """Through a network of other weights, whose gates are others."""
    x, y = np.array([[1.0, 0.5], [0.1, 1.0]]), np.array([1.0, -1.0])
    network = Units(jnp.array([[1.0, 0.2], [-0.3, 0.7]]), jnp.array([1.0, 0.6]))
    flow = gflow.GradientFlow(gflow.Exponential(), x, y)
    until = gflow.Until(log_t=5.0)
    curve = gflow.solve(flow, network, until=until, progress=False)
    assert curve.stats["slides"] > 0
    curve.save(tmp_path / "kinks.nc")
    other = jax.tree.map(lambda w: -2 * w, network)
    found = gflow.load(tmp_path / "kinks.nc", flow, other)
    assert np.array_equal(found.gates, curve.gates)
    again = found.at(log_t=[1.0, 4.0])
    assert np.array_equal(again.log_loss, curve.at(log_t=[1.0, 4.0]).log_loss)
    for name in ("on", "slides", "normals"):
        here, there = (getattr(c.field.gates, name) for c in (found, curve))
        assert np.array_equal(here, there)


@pytest.mark.slow
def test_a_deep_flow_stays_on_the_kinks_that_it_slides_along():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(14, 4))
    y = np.sign(x[:, 0] * x[:, 1] + 0.2)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    network = gflow.nn.MLP(4, (8, 6), key=jax.random.key(1))
    until, margins = gflow.Until(log_margin_scale=60.0), []
    for rtol in (1e-4, 1e-6):
        curve = gflow.solve(flow, network, until=until, rtol=rtol, progress=False)
        gflow.testing.check_trajectory(curve, rtol=rtol)
        found = curve.map(gflow.margins.normalized)
        margins.append(found[-1])
        slides = np.asarray(curve.field.gates.slides)
        sample, kink = np.divmod(slides[slides >= 0], 14)
        first, second = (np.asarray(w[-1]) for w in curve.direction.weights[:2])
        h = np.maximum(x @ first.T, 0)
        behind = kink >= 8
        sample, kink = sample[behind], kink[behind] - 8
        assert len(kink) > 3  # else nothing is shown
        u, terms = h @ second.T, h @ np.abs(second.T)
        assert np.all(np.abs(u[sample, kink]) <= rtol * terms[sample, kink])
    assert abs(margins[0] / margins[1] - 1) < 1e-3
