"""Arrays of very different sizes: what is small by itself must grow by itself."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from gflow import _framing, _pairs, _units
from jax.flatten_util import ravel_pytree


RANDOM = np.random.default_rng(5)
X, Y = RANDOM.normal(size=(6, 3)), np.sign(RANDOM.normal(size=6))


class Relu(eqx.Module):
    """Two layers that do not say what belongs together."""

    w: jax.Array
    a: jax.Array

    def __call__(self, x):
        return self.a @ jax.nn.relu(self.w @ x)


class Named(Relu):
    """Two layers that do."""

    def units(self):
        return (("hidden", None), ("hidden",))


class Product(eqx.Module):
    """A product of vectors, entry by entry."""

    factors: list

    def __call__(self, x):
        return jnp.prod(jnp.stack(self.factors), axis=0) @ x


class Biased(Relu):
    """Two layers with biases."""

    b: jax.Array

    def __call__(self, x):
        return self.a @ jax.nn.relu(self.w @ x + self.b)


def sized(network, *sizes):
    """A network whose arrays are multiplied by these numbers."""
    weights = tuple(s * w for s, w in zip(sizes, network.weights, strict=True))
    return eqx.tree_at(lambda net: net.weights, network, weights)


def by_lsoda(flow, network, log_t, least):
    """The log loss there, by SciPy, whose absolute tolerance is far below `least`."""
    start, network_of = ravel_pytree(eqx.filter(network, eqx.is_inexact_array))
    still = eqx.filter(network, eqx.is_inexact_array, inverse=True)

    def log_loss(vector):
        return flow.log_loss(eqx.combine(network_of(vector), still))

    slope = jax.jit(jax.grad(lambda vector: -jnp.exp(log_loss(vector))))
    found = scipy.integrate.solve_ivp(
        lambda _, w: np.asarray(slope(w)), (0, np.exp(log_t)), np.asarray(start),
        method="LSODA", rtol=1e-9, atol=1e-13 * least,
    )  # fmt: skip
    return float(log_loss(found.y[:, -1]))


KEY = jax.random.key(0)
UNBALANCED = {
    "squared ReLUs, small rows": (
        gflow.nn.MLP(3, (3,), power=2, key=KEY),
        (1e-16, 1.0),
    ),
    "squared ReLUs, small middle": (
        gflow.nn.MLP(3, (3, 3), power=2, key=KEY),
        (1.0, 1e-9, 1.0),
    ),
    "four linear layers, small ends": (
        gflow.nn.DeepLinear(3, (3, 3, 3), key=KEY),
        (1e-9, 1.0, 1.0, 1e-9),
    ),
    "four linear layers, small and large in turn": (
        gflow.nn.DeepLinear(3, (3, 3, 3), key=KEY),
        (1.0, 1e-20, 1.0, 1e-20),
    ),
}


@pytest.mark.parametrize("name", UNBALANCED)
def test_small_arrays_grow_beside_large_ones(name):
    network, sizes = UNBALANCED[name]
    flow, network = gflow.GradientFlow(gflow.Logistic(), X, Y), sized(network, *sizes)
    until = gflow.Until(log_t=5.0)
    curve = gflow.solve(flow, network, until=until, rtol=1e-6, progress=False)
    expected = by_lsoda(flow, network, 5.0, min(sizes))
    assert expected < float(curve.log_loss[0]) - 0.1  # they do grow
    assert abs(float(curve.log_loss[-1]) - expected) < 3e-5


@pytest.mark.parametrize("size", [1e-14, 1e-40])
def test_squared_relus_have_no_kinks_whatever_their_sizes(size):
    network = sized(gflow.nn.MLP(3, (3,), power=2, key=KEY), size, 1.0)
    flow = gflow.GradientFlow(gflow.Logistic(), X, Y)
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_t=0.0), rtol=1e-3, progress=False
    )
    assert curve.field.kinks.count == 0


def drawn(*shapes):
    return [jnp.asarray(RANDOM.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize("exact", [1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("draws", [2, 3, 6])
def test_pairs_are_found_where_they_are_products_of_two(exact, draws, monkeypatch):
    monkeypatch.setattr(_pairs, "EXACT", exact)
    monkeypatch.setattr(_pairs, "DRAWS", draws)
    w, a, b = drawn((4, 3), 4, 4)
    assert _pairs.find_pairs(Relu(w, a), X) == [((0, 0), (1, 0))]
    assert _pairs.find_pairs(Product(drawn(3, 3)), X) == [((0, 0), (1, 0))]
    # An entry of three may belong to either, and biases are one more.
    assert _pairs.find_pairs(Product(drawn(3, 3, 3)), X) == []
    assert _pairs.find_pairs(Biased(w, a, b), X) == []


class Apart(Named):
    """What is named alike, but does not belong together."""

    def __call__(self, x):
        rows = jnp.concatenate([self.w, self.a[:, None]], axis=1)
        return jnp.sum(jax.nn.relu(rows[:, :3] @ x) ** 2) - jnp.sum(rows[:, 3] ** 2)


def test_names_are_believed_where_the_law_holds_only():
    w, a = drawn((4, 3), 4)
    assert _units.find_units(Apart(w, a), 2.0, X).count == 8


@pytest.mark.parametrize("power", [1.5, 2, 3])
def test_of_a_power_and_a_factor_the_factor_is_driven(power):
    network = gflow.nn.MLP(3, (4,), power=power, key=KEY)
    assert _pairs.find_pairs(network, X, power) == [((0, 0), (1, 0))]
    assert _pairs.find_pairs(network, X) == []
    weights = jnp.asarray(RANDOM.normal(size=16))
    units = _units.find_units(network, power + 1.0, X)
    unit, size = units.assign(weights)
    rows = np.linalg.norm(weights[:12].reshape(4, 3), axis=1)
    np.testing.assert_allclose(size[:12], np.repeat(rows, 3))
    np.testing.assert_allclose(size[12:], np.hypot(rows, weights[12:]))
    assert len(set(unit.tolist())) == 8


def test_a_network_that_names_no_units_is_followed_as_one_that_does():
    x = np.random.default_rng(3).normal(size=(5, 2))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.array([1.0, -1, 1, -1, 1]))
    ends = []
    for kind in (Relu, Named):
        # The weights of a neuron into it vanish on the way, in finite time.
        random = np.random.default_rng(9)
        w, a = random.normal(size=(4, 2)), random.normal(size=4)
        curve = gflow.solve(
            flow, kind(jnp.asarray(w), jnp.asarray(a)), until=gflow.Until(log_t=3.0),
            rtol=1e-6, progress=False, max_steps=500,
        )  # fmt: skip
        ends.append(float(curve.log_loss[-1]))
    assert abs(ends[0] - ends[1]) < 1e-5


@pytest.mark.parametrize(
    ("degree", "arrays"), [(2.0, 1), (float("nan"), 2), (3.0, 2), (4.5, 2)]
)
def test_arrays_share_units_in_networks_of_two_factors_only(degree, arrays):
    w, a = drawn((4, 3), 4)
    assert _units.find_units(Named(w, a), degree, X).count == 4 * arrays


class Linear(eqx.Module):
    """One layer, whose weights are units each."""

    w: jax.Array

    def __call__(self, x):
        return self.w @ x


@pytest.mark.parametrize(
    ("loss", "rounded"),
    [(gflow.Logistic(), 0.03), (gflow.Logistic(), 0.3), (gflow.Exponential(), 0.1)],
)
def test_balanced_pulls_are_known_to_rounding(loss, rounded, monkeypatch):
    r"""Two samples contradict each other: what they hold falls to rounding, and stays.

    Beside it $\dot u = \ell(u) / 3$, for large $u$ in closed form.
    """
    monkeypatch.setattr(_framing, "ROUNDED", rounded)
    jax.clear_caches()  # what is compiled has the number of before
    x, y = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), np.array([1.0, 1.0, -1.0])
    log_t = 200.0
    curve = gflow.solve(
        gflow.GradientFlow(loss, x, y), Linear(jnp.array([0.3, 0.5])),
        until=gflow.Until(log_t=log_t), rtol=1e-6, progress=False, max_steps=1500,
    )  # fmt: skip
    u, v = (float(part) for part in np.asarray(curve.network.w)[-1])
    # The integral of e^u, and of e^u + 1 for the logistic loss, is t / 3.
    assert abs(u / (log_t - np.log(3)) - 1) < 1e-6
    assert abs(v) < 1e-14


def test_an_end_for_want_of_steps_says_that_samples_contradict_each_other():
    """What the others still do has few digits beside pulls in balance."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(6, 3)), np.sign(random.normal(size=6))
    y[:2] = 1.0, -1.0
    weights = random.normal(size=(5, 3)), random.normal(size=5)
    network = gflow.nn.MLP.from_weights([*weights])

    def ending(y, steps):
        flow = gflow.GradientFlow(gflow.Logistic(), x, y)
        options = {"max_steps": steps, "progress": False, "rtol": 1e-7}
        with pytest.raises(gflow.SolveError, match="max_steps") as caught:
            gflow.solve(flow, network, until=gflow.Until(log_t=1e3), **options)
        return str(caught.value)

    assert "contradict each other" in ending(y, 700)
    assert "contradict" not in ending(np.sign(x[:, 1]), 30)


@pytest.mark.parametrize("lift", [240, 480, 500])
@pytest.mark.parametrize("whole", [1e-290, 1.0, 1e200])
def test_norms_of_units_are_right_at_any_size(lift, whole, monkeypatch):
    """Of units down to 1e-290 of the largest weight, where no square survives."""
    monkeypatch.setattr(_units, "LIFT", 2.0**lift)
    monkeypatch.setattr(_units, "LIFT_TINY", 2.0 ** (2 * lift))
    small = [1.0, 1e-70, 1e-140] if lift == 240 else [1.0, 1e-150, 1e-290]
    sizes = np.array([1.0] if whole == 1e-290 else [*small, 0.0])
    random = np.random.default_rng(0)
    unit = random.integers(0, sizes.size, 40)
    weights = whole * random.normal(size=40) * sizes[unit]
    found = _units._norms(jnp.asarray(weights), jnp.asarray(unit)[None], sizes.size)
    for k, size in enumerate(sizes):
        own = weights[unit == k]
        unitary = whole * size if size > 0 else 1.0
        expected = unitary * np.linalg.norm(own / unitary)
        np.testing.assert_allclose(found[k], expected, rtol=1e-14)
