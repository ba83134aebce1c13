"""The shortest generalized gradient: closed forms, brute force, and its laws."""

# Wrong types are passed on purpose.
# pyright: reportArgumentType=false

import dataclasses
import itertools

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _tree
from gflow._gates import find_kinks, frozen, record
from hypothesis import given, settings, strategies as st
from jax.flatten_util import ravel_pytree
from kinks import KEY, kinked


KINKED = {name: make for name, (make, _) in kinked.items()}
each_network = pytest.mark.parametrize("make", KINKED.values(), ids=KINKED.keys())
seeds = st.integers(0, 2**32 - 1)


def flat(network):
    return np.asarray(ravel_pytree(_tree.parameters(network))[0])


def flow_of(x, y):
    loss = gflow.Logistic() if np.min(y) < 0 else gflow.CrossEntropy()
    return gflow.GradientFlow(loss, x, y)


@eqx.filter_jit
def automatic(flow, network, q):
    """J^T q at norm one, by JAX."""
    moving, still = _tree.partition(_tree.normalize(network))
    pull = jax.vjp(lambda p: flow.margins(eqx.combine(p, still)), moving)[1](q)[0]
    return ravel_pytree(pull)[0]


class Gated:
    """The margins of a network of norm one under given gates, sample by sample."""

    def __init__(self, flow, network):
        moving, still = _tree.partition(_tree.normalize(network))
        self.theta, unravel = ravel_pytree(moving)
        self.unravel = lambda point: eqx.combine(unravel(point), still)
        margins = flow.sample_margins
        kinks = find_kinks(margins, network, flow.x[0], flow.y[0])

        def values(point, i):
            sample = (self.unravel(point), flow.x[i], flow.y[i])
            _, gates, u = record(margins, kinks, *sample)

            def at(point):
                sample = (self.unravel(point), flow.x[i], flow.y[i])
                return frozen(margins, kinks, gates, *sample)[1]

            return gates, u, jax.jacobian(at)(point)

        def gradient(point, i, share, gates):
            def value(point):
                sample = (self.unravel(point), flow.x[i], flow.y[i])
                return jnp.dot(share, frozen(margins, kinks, gates, *sample)[0])

            return jax.grad(value)(point)

        # For each sample the gates, u of all kinks, and the derivatives of u.
        self.values = jax.jit(values)
        self.gradient = jax.jit(gradient)


def on_kinks(flow, network, number):
    """A network moved so that the nearest kinks of each sample tie, by Newton."""
    gated = Gated(flow, network)
    point, chosen, u = gated.theta, [], np.ones(1)
    for i in range(flow.samples):
        _, u, slopes = map(np.asarray, gated.values(point, i))
        sizes = np.linalg.norm(slopes, axis=1)
        ratios = np.where(sizes > 0, np.abs(u) / np.where(sizes > 0, sizes, 1), np.inf)
        chosen.append(np.argsort(ratios)[:number])
    for _ in range(8):
        found = [gated.values(point, i) for i in range(flow.samples)]
        u, rows = (
            np.concatenate(
                [np.asarray(f[k])[own] for f, own in zip(found, chosen, strict=True)]
            )
            for k in (1, 2)
        )
        point = point - np.linalg.lstsq(rows, u)[0]
    assert np.max(np.abs(u)) < 1e-15
    return gated.unravel(point)


def corners(flow, network, q):
    """All sums over samples of gradients at a corner of the gates, by brute force."""
    q, gated = np.reshape(q, (flow.samples, -1)), Gated(flow, network)
    sums = np.zeros((1, gated.theta.size))
    for i in range(flow.samples):
        gates, u, slopes = map(np.asarray, gated.values(gated.theta, i))
        tied = (np.abs(u) < 1e-14) & np.any(slopes != 0, axis=1)
        pairs = zip(tied, gates, strict=True)
        options = [(False, True) if tie else (on,) for tie, on in pairs]
        each = [
            gated.gradient(gated.theta, i, q[i], np.array(choice))
            for choice in itertools.product(*options)
        ]
        each = np.unique(np.asarray(each), axis=0)
        sums = (sums[:, None] + each).reshape(-1, sums.shape[1])
    return sums


class Neuron(eqx.Module):
    """f(x) = relu(<w, x>), of degree one."""

    w: jax.Array

    def __call__(self, x):
        return jax.nn.relu(self.w @ x)

    def units(self):
        return ((None,),)


class Largest(eqx.Module):
    """f(x) = max_k x_k w_k, of degree one."""

    w: jax.Array

    def __call__(self, x):
        return jnp.max(x * self.w)


class Smallest(eqx.Module):
    """f(x) = min_k x_k w_k, of degree one."""

    w: jax.Array

    def __call__(self, x):
        return jnp.min(x * self.w)


@given(share=st.floats(0, 0.99))
def test_a_sliding_neuron_feels_what_is_left_of_the_push_along_the_kink(share):
    # The first sample pulls along (1, 1/2), the second along -s (0, 1), 0 <= s <= 1.
    flow = flow_of([[1.0, 0.5], [0.0, 1.0]], [1.0, -1.0])
    q = np.array([share, 1 - share])
    found = gflow.kkt.min_norm_subgradient(
        gflow.point(flow, Neuron(jnp.array([3.0, 0.0])), weights=q)
    )
    gate = min(1.0, share / 2 / (1 - share))
    expected = [share, share / 2 - gate * (1 - share)]
    # A gate that is off by so much moves the element by as much.
    np.testing.assert_allclose(flat(found.element), expected, rtol=0, atol=1e-12)
    assert found.free == 1
    np.testing.assert_allclose(found.gates[:, 0], [1, gate], atol=1e-12)


def test_of_several_tied_entries_the_shortest_mixture_is_taken():
    # The hull of a e_1, b e_2, c e_3 holds weights proportional to 1/a^2, 1/b^2, 1/c^2;
    # the fourth entry is behind.
    x = np.array([[1.0, 2.0, -4.0, 1.0]])
    network = Largest(jnp.array([1.0, 0.5, -0.25, 0.9]))
    flow = flow_of(np.vstack([x, -x]), [1.0, -1.0])
    found = gflow.kkt.min_norm_subgradient(
        gflow.point(flow, network, weights=np.array([1.0, 0.0]))
    )
    inverse = x[0, :3] ** -2.0
    expected = [*inverse / inverse.sum(), 0] * x[0]
    np.testing.assert_allclose(flat(found.element), expected, rtol=1e-13)
    assert found.norm == pytest.approx(inverse.sum() ** -0.5, rel=1e-14)
    # One against three, and the winner against two.
    assert found.free == 2


def test_at_a_kink_point_of_the_largest_margin_all_residuals_vanish():
    # min(a w_1, b w_2) is largest on the sphere where a w_1 = b w_2.
    a, b = 1.0, 2.0
    # The second sample lies far behind.
    flow = flow_of([[a, b], [-10 * a, -10 * b]], [1.0, -1.0])
    network = Smallest(jnp.array([1 / a, 1 / b]))
    point = gflow.point(flow, network, weights=jnp.array([1.0, 0.0]))
    found = gflow.kkt.min_norm_subgradient(point)
    assert gflow.kkt.alignment(point) < 0.95
    assert gflow.kkt.residual(point).stationarity > 0.1
    assert gflow.kkt.alignment(point, found.element) == pytest.approx(1, abs=1e-15)
    assert gflow.kkt.turning(point, found.element) < 1e-15
    residual = gflow.kkt.residual(point, found.element)
    assert residual.stationarity < 1e-15
    best = gflow.kkt.clarke(point, 0.0)
    assert best.stationarity < 1e-15
    # w = lambda grad z at margin one: |w|^2 = lambda z = lambda
    for each in (residual, best):
        assert each.multipliers[0] == pytest.approx(1 / a**2 + 1 / b**2, rel=1e-14)
    growth = gflow.margins.growth(point, found.element)
    assert growth.spherical < 1e-15 * growth.radial
    loss = gflow.kkt.loss_gradient(point, found.element)
    margins = gflow.kkt.smoothed_margin_gradient(point, found.element)
    assert loss.log_spherical < loss.log_radial - 30
    assert margins.log_spherical < margins.log_radial - 25


X4 = np.random.default_rng(0).normal(size=(3, 4))


def three_samples(network):
    """A flow for a network of 4 features, and weights of its margins."""
    logits = jnp.size(network(X4[0])) > 1
    flow = flow_of(X4, np.array([0, 2, 1] if logits else [1.0, -1.0, 1.0]))
    q = np.random.default_rng(1).uniform(size=3 * flow.per_sample)
    return flow, q / np.sum(q)


@each_network
def test_off_kinks_it_is_the_gradient(make):
    network = make()
    flow, q = three_samples(network)
    found = gflow.kkt.min_norm_subgradient(gflow.point(flow, network, weights=q))
    np.testing.assert_allclose(
        flat(found.element), automatic(flow, network, q), rtol=0, atol=1e-14
    )
    assert found.free == 0


def test_off_kinks_the_kkt_residual_is_the_tightest():
    network = KINKED["leaky"]()
    x = np.random.default_rng(2).normal(size=(6, 4))
    flow = flow_of(x, np.sign([float(network(row)) for row in x]))
    for within in (np.inf, 0.5):
        found = gflow.kkt.clarke(gflow.point(flow, network), within, 0.0)
        plain = gflow.kkt.tightest(gflow.point(flow, network), within)
        for one, other in zip(found, plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        assert found.stationarity > 0


TIES = {
    "leaky": 3,
    "relu": 2,
    "concave": 3,
    "absolute": 3,
    "residual": 2,
    "max-pooling": 3,
    "pooled squares": 3,
    "a user's": 2,
}


@pytest.mark.parametrize("name", TIES)
def test_it_is_the_shortest_of_all_corners(name):
    network = KINKED[name]()
    flow, q = three_samples(network)
    network = on_kinks(flow, network, TIES[name])
    found = gflow.kkt.min_norm_subgradient(gflow.point(flow, network, weights=q))
    rows = corners(flow, network, q)
    assert found.free > 1
    assert len(rows) > 2
    h = flat(found.element)
    brute = gflow.reference.min_norm_point(rows)
    np.testing.assert_allclose(h, brute.point, rtol=0, atol=1e-7)
    assert found.norm <= brute.norm * (1 + 1e-13) + 1e-16
    # <h, u> >= |h|^2 for all elements u
    assert np.min(rows @ h) >= h @ h * (1 - 1e-12)
    exact = automatic(flow, network, q)
    assert found.norm <= np.linalg.norm(exact) * (1 + 1e-13)
    # Hardly larger a tolerance finds no more ties.
    again = gflow.kkt.min_norm_subgradient(gflow.point(flow, network, weights=q), 1e-10)
    assert again.free == found.free


def test_a_large_tolerance_calls_more_kinks_tied():
    network = KINKED["relu"]()
    flow, q = three_samples(network)
    tols = (0.0, 0.02, 0.05, 0.1)
    found = [
        gflow.kkt.min_norm_subgradient(gflow.point(flow, network, weights=q), tol)
        for tol in tols
    ]
    free = [int(each.free) for each in found]
    assert free == sorted(free)
    assert free[0] == 0
    assert free[-1] > free[1] > 0
    assert found[-1].norm < found[0].norm


def test_hundreds_of_ties_of_one_layer_are_no_burden():
    # Two samples, and each on the kink of every neuron: a box of 400 gates.
    random, width = np.random.default_rng(0), 200
    x = random.normal(size=(2, 20))
    v = random.normal(size=(width, 20))
    v -= v @ np.linalg.pinv(x) @ x
    network = gflow.nn.MLP.from_weights((v, random.normal(size=width)))
    q = np.array([0.3, 0.7])
    flow = flow_of(x, np.array([1.0, -1.0]))
    found = gflow.kkt.min_norm_subgradient(gflow.point(flow, network, weights=q))
    assert found.free == 2 * width
    # On neuron j pull q_i y_i a_j s_ij x_i, and one of each sign may be made zero.
    assert found.norm < 1e-13


def test_ties_of_max_pooling_are_a_sum_of_small_hulls():
    # On stripes a kernel whose middle column is the sum of the others ties all columns.
    network = gflow.nn.ConvNet((16, 16), (6,), key=KEY)
    kernel = np.array(network.kernels[0])
    kernel[..., 1] = kernel[..., 0] + kernel[..., 2]
    network = eqx.tree_at(lambda net: net.kernels[0], network, jnp.asarray(kernel))
    x = np.zeros((2, 16, 16))
    x[0, :, ::2] = x[1, :, 1::2] = 1.0
    flow, q = flow_of(x, np.array([1.0, -1.0])), np.array([0.3, 0.7])
    found = gflow.kkt.min_norm_subgradient(gflow.point(flow, network, weights=q))
    # Those of channels that are on; all four entries may differ at the border alone.
    assert 100 < found.free < 2 * 6 * 64 * 3
    assert found.norm < 0.999 * np.linalg.norm(automatic(flow, network, q))
    # Gates of kinks in one layer give the element itself.
    gated = Gated(flow, network)
    again = sum(
        gated.gradient(gated.theta, i, q[i : i + 1], found.gates[i]) for i in range(2)
    )
    np.testing.assert_allclose(again, flat(found.element), rtol=0, atol=1e-12)


@settings(max_examples=15)
@given(seeds, st.floats(1e-3, 1e3))
def test_on_kinks_it_is_never_longer_than_what_jax_takes(seed, size):
    random = np.random.default_rng(seed)
    # Weights whose first three neurons have the first three samples on their kinks.
    x, v = random.normal(size=(6, 4)), random.normal(size=(5, 4))
    for j in range(3):
        v[j] -= (v[j] @ x[j]) / (x[j] @ x[j]) * x[j]
    weights = (size * v, size * random.normal(size=5))
    flow = flow_of(x, np.array([1.0, -1, 1, -1, 1, -1]))
    q = random.dirichlet(np.ones(6))
    network = gflow.nn.MLP.from_weights(weights)
    found = gflow.kkt.min_norm_subgradient(gflow.point(flow, network, weights=q))
    assert found.free == 3
    one_sided = automatic(flow, network, q)
    assert found.norm <= np.linalg.norm(one_sided) * (1 + 1e-14)
    # Gates of kinks in one layer give the element itself.
    gated = Gated(flow, network)
    again = sum(
        gated.gradient(gated.theta, i, q[i : i + 1], found.gates[i]) for i in range(6)
    )
    np.testing.assert_allclose(again, flat(found.element), rtol=0, atol=1e-13)


def test_on_a_trajectory_it_is_the_direction_of_the_slide():
    flow = flow_of([[1.0, 0.5], [0.0, 1.0]], [1.0, -1.0])
    network = Neuron(jnp.array([1.0, 0.1]))
    until = gflow.Until(log_t=3.0)
    run = gflow.solve(flow, network, until=until, rtol=1e-6, progress=False)
    found = run.map(gflow.kkt.min_norm_subgradient)
    # The sample whose neuron is off has no weight in the run, but holds the flow back.
    at_end = {"log_radius": run.log_radius[-1], "weights": np.array([0.1, 0.9])}
    one = gflow.kkt.min_norm_subgradient(
        gflow.point(flow, Neuron(run.direction.w[-1]), **at_end)
    )
    np.testing.assert_allclose(flat(one.element), [0.1, 0], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(found.element.w[-1], [1, 0], rtol=1e-13, atol=1e-13)
    # Before, it is one by one the same.
    before = {"log_radius": run.log_radius[0], "weights": run.weights[0]}
    one = gflow.kkt.min_norm_subgradient(
        gflow.point(flow, Neuron(run.direction.w[0]), **before)
    )
    assert np.array_equal(one.element.w, found.element.w[0])
    # The sliding flow does not turn; JAX's subgradients do, on either side.
    sliding = run.map(gflow.kkt.turning, found.element)
    own = run.map(gflow.kkt.turning)
    one_sided = run.map(_of_jax)
    slides = np.asarray(found.free) == 1
    assert slides[-1]
    assert np.all(sliding[slides] < 1e-12)
    assert np.all(own[slides] < 1e-12)
    assert np.all(one_sided[slides] > 0.01)


def _of_jax(point):
    return gflow.kkt.turning(dataclasses.replace(point, sides=None, slides=None))


def test_the_size_of_weights_plays_no_part():
    network = KINKED["relu"]()
    flow, q = three_samples(network)
    one, other = (
        gflow.kkt.min_norm_subgradient(
            gflow.point(flow, _tree.scale(network, c), weights=q), 0.02
        )
        for c in (1.0, 1e-60)
    )
    np.testing.assert_allclose(
        flat(one.element), flat(other.element), rtol=0, atol=1e-14
    )
    # Without weights they follow from the margins at the radius.
    at = gflow.kkt.min_norm_subgradient(
        gflow.point(flow, network, log_radius=1.0), 0.02
    )
    own = gflow.kkt.min_norm_subgradient(
        gflow.point(flow, _tree.scale(network, np.e / float(_tree.norm(network)))), 0.02
    )
    np.testing.assert_allclose(flat(at.element), flat(own.element), atol=1e-14)


def test_what_is_undefined_is_nan():
    flow = flow_of([[1.0, 2.0], [-1.0, -2.0]], [1.0, -1.0])
    far = gflow.kkt.min_norm_subgradient(
        gflow.point(flow, Smallest(jnp.ones(2)), log_radius=30.0)
    )
    assert np.all(np.isnan(flat(far.element)))
    negative = gflow.kkt.clarke(gflow.point(flow, Smallest(-jnp.ones(2))), 0.0)
    assert np.isnan(negative.stationarity)


class Sorted(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return jnp.sort(self.w * x)[0]


SIGNS = flow_of(X4, np.array([1.0, -1.0, 1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gflow.kkt.min_norm_subgradient(
                gflow.point(SIGNS, Largest(jnp.ones(4))), -1.0
            ),
            "`active_tol` must not be negative, but is -1.0",
        ),
        (
            lambda: gflow.kkt.clarke(gflow.point(SIGNS, Largest(jnp.ones(4))), np.nan),
            "`within` must not be negative, but is nan",
        ),
        (
            lambda: gflow.kkt.min_norm_subgradient(
                gflow.point(
                    gflow.GradientFlow(gflow.Square(), X4[:, :1], X4[:, 0]),
                    Largest(jnp.ones(1)),
                )
            ),
            "must classify here, but is one of regression",
        ),
        (
            lambda: gflow.kkt.min_norm_subgradient(
                gflow.point(SIGNS, gflow.nn.MLP(4, (9, 9), key=KEY)), 10.0
            ),
            "`active_tol` must leave at most 4096 combinations",
        ),
        (
            lambda: gflow.kkt.min_norm_subgradient(
                gflow.point(SIGNS, Sorted(jnp.ones(4)))
            ),
            "`sort` of values that depend on the weights",
        ),
    ],
    ids=["tolerance", "within", "regression", "combinations", "sort"],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
