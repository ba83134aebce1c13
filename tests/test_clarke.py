"""The shortest generalized gradient: closed forms, brute force, and its laws."""

# Wrong types are passed on purpose.
# pyright: reportArgumentType=false

import itertools

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from gflow import _tree
from gflow._diagnostics.clarke_hulls import Hull
from gflow._diagnostics.clarke_points import nearest_in_cone, shortest_mixture
from gflow.nn._tape import with_gates
from hypothesis import given, settings, strategies as st
from jax.flatten_util import ravel_pytree
from kinks import KEY, kinked


each_network = pytest.mark.parametrize("make", kinked.values(), ids=kinked.keys())
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


@eqx.filter_jit
def replayed(flow, network, q, gates):
    """J^T q of two classes at norm one, under given gates."""
    moving, still = _tree.partition(_tree.normalize(network))

    def value(moving):
        run = lambda x, g: with_gates(eqx.combine(moving, still), x, g)[0]  # noqa: E731
        return jnp.sum(q * flow.y * jax.vmap(run)(flow.x, list(gates)))

    return ravel_pytree(jax.grad(value)(moving))[0]


def corners(flow, network, q, tol):
    """All sums over samples of gradients at a corner of the gates, by brute force."""
    network = _tree.normalize(network)
    moving, still = _tree.partition(network)
    q = np.reshape(q, (flow.samples, -1))
    sums = np.zeros((1, flat(network).size))

    for x, y, share in zip(flow.x, flow.y, q, strict=True):

        @jax.jit
        def gradient(gates):
            def value(moving):
                output, _ = with_gates(eqx.combine(moving, still), x, gates)
                return jnp.dot(share, flow.sample_margins(lambda _: output, x, y))

            return ravel_pytree(jax.grad(value)(moving))[0]

        _, kinks = with_gates(network, x)
        kinks = with_gates(network, x, [0 * kink.branches for kink in kinks])[1]
        options = []
        for branches in (np.asarray(kink.branches) for kink in kinks):
            for row in branches.reshape(-1, branches.shape[-1]):
                tied = np.flatnonzero(row >= np.max(row) - tol)
                options.append([np.eye(row.size)[branch] for branch in tied])
        each = []
        for choice in itertools.product(*options):
            rows = iter(choice)
            gates = [
                np.stack([next(rows) for _ in range(kink.branches[..., 0].size)])
                for kink in kinks
            ]
            shaped = zip(gates, kinks, strict=True)
            each.append(gradient([g.reshape(k.branches.shape) for g, k in shaped]))
        each = np.unique(np.asarray(each), axis=0)
        sums = (sums[:, None] + each).reshape(-1, sums.shape[1])
    return sums


class Neuron(eqx.Module):
    """f(x) = relu(<w, x>), smoothed, of degree one."""

    w: jax.Array
    eps: gflow.nn.Fixed

    def __call__(self, x):
        return gflow.nn.relu(self.w @ x, gflow.nn.radius(self), self.eps.value)


class Largest(eqx.Module):
    """f(x) = max_k x_k w_k, of degree one."""

    w: jax.Array

    def __call__(self, x):
        return gflow.nn.maximum(x * self.w, eps=0.0)


class Smallest(eqx.Module):
    """f(x) = min_k x_k w_k, of degree one."""

    w: jax.Array

    def __call__(self, x):
        return -gflow.nn.maximum(-x * self.w, eps=0.0)


def neuron(w, eps):
    return Neuron(jnp.asarray(w), gflow.nn.Fixed(jnp.asarray(eps)))


@pytest.mark.parametrize("eps", [1e-4, 0.0])
@given(share=st.floats(0, 0.99))
def test_a_sliding_neuron_feels_what_is_left_of_the_push_along_the_kink(share, eps):
    # The first sample pulls along (1, 1/2), the second along -s (0, 1), 0 <= s <= 1.
    flow = flow_of([[1.0, 0.5], [0.0, 1.0]], [1.0, -1.0])
    q = np.array([share, 1 - share])
    found = gflow.min_norm_subgradient(flow, neuron([3.0, 0.0], eps), weights=q)
    gate = min(1.0, share / 2 / (1 - share))
    expected = [share, share / 2 - gate * (1 - share)]
    np.testing.assert_allclose(flat(found.element), expected, rtol=0, atol=1e-15)
    assert found.free == 1
    np.testing.assert_allclose(found.gates[0][1], [1 - gate, gate], atol=1e-12)
    np.testing.assert_array_equal(found.gates[0][0], [0, 1])


def test_of_several_tied_branches_the_shortest_mixture_is_taken():
    # The hull of a e_1, b e_2, c e_3 holds weights proportional to 1/a^2, 1/b^2, 1/c^2;
    # branch four is behind, and branch five moves nothing but is tied.
    x = np.array([[1.0, 2.0, -4.0, 1.0]])
    network = Largest(jnp.array([1.0, 0.5, -0.25, 0.9]))
    flow = flow_of(np.vstack([x, -x]), [1.0, -1.0])
    found = gflow.min_norm_subgradient(flow, network, weights=np.array([1.0, 0.0]))
    inverse = x[0, :3] ** -2.0
    np.testing.assert_allclose(
        found.gates[0][0], [*inverse / inverse.sum(), 0], rtol=1e-13
    )
    assert found.norm == pytest.approx(inverse.sum() ** -0.5, rel=1e-14)
    assert found.free == 1


def test_at_a_kink_point_of_the_largest_margin_all_residuals_vanish():
    # min(a w_1, b w_2) is largest on the sphere where a w_1 = b w_2.
    a, b = 1.0, 2.0
    # The second sample lies far behind.
    flow = flow_of([[a, b], [-10 * a, -10 * b]], [1.0, -1.0])
    network = Smallest(jnp.array([1 / a, 1 / b]))
    q = {"weights": jnp.array([1.0, 0.0])}
    found = gflow.min_norm_subgradient(flow, network, **q)
    assert gflow.alignment(flow, network, **q) < 0.95
    assert gflow.kkt_residual(flow, network, **q).stationarity > 0.1
    with_it = q | {"subgradient": found.element}
    assert gflow.alignment(flow, network, **with_it) == pytest.approx(1, abs=1e-15)
    assert gflow.turning(flow, network, **with_it) < 1e-15
    residual = gflow.kkt_residual(flow, network, **with_it)
    assert residual.stationarity < 1e-15
    best = gflow.clarke_kkt_residual(flow, network, 0.0)
    assert best.stationarity < 1e-15
    # w = lambda grad z at margin one: |w|^2 = lambda z = lambda
    for each in (residual, best):
        assert each.multipliers[0] == pytest.approx(1 / a**2 + 1 / b**2, rel=1e-14)
    growth = gflow.margin_growth(flow, network, **with_it)
    assert growth.spherical < 1e-15 * growth.radial
    loss = gflow.loss_gradient(flow, network, **with_it)
    margins = gflow.smoothed_margin_gradient(flow, network, **with_it)
    assert loss.log_spherical < loss.log_radial - 30
    assert margins.log_spherical < margins.log_radial - 25


X4 = np.random.default_rng(0).normal(size=(3, 4))


def three_samples(network):
    """A flow for a network of 4 features, and weights of its margins."""
    logits = jnp.size(network(X4[0])) > 1
    flow = flow_of(X4, np.array([0, 2, 1] if logits else [1.0, -1.0, 1.0]))
    q = np.random.default_rng(1).uniform(size=3 * flow.rivals)
    return flow, q / np.sum(q)


@each_network
def test_off_kinks_it_is_the_gradient_of_the_exact_network(make):
    network, exact = make(1e-3), make(0.0)
    flow, q = three_samples(network)
    found = gflow.min_norm_subgradient(flow, network, 0.0, weights=q)
    np.testing.assert_allclose(
        flat(found.element), automatic(flow, exact, q), rtol=0, atol=1e-14
    )
    assert found.free == 0


def test_off_kinks_the_kkt_residual_is_the_tightest():
    network, exact = (kinked["leaky"](eps) for eps in (1e-3, 0.0))
    x = np.random.default_rng(2).normal(size=(6, 4))
    flow = flow_of(x, np.sign([float(exact(row)) for row in x]))
    for within in (np.inf, 0.5):
        found = gflow.clarke_kkt_residual(flow, network, within, 0.0)
        plain = gflow.tightest_kkt_residual(flow, exact, within)
        for one, other in zip(found, plain, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        assert found.stationarity > 0


# Wide ties: with a tolerance like this many kinks count as tied.
BRUTE = {
    "two layers": (lambda: kinked["leaky"](1e-3), 0.1),
    "three layers, logits": (lambda: kinked["relu"](1e-3), 0.02),
    "concave": (lambda: kinked["concave"](1e-3), 0.03),
    "absolute": (lambda: kinked["absolute"](1e-3), 0.03),
    "residual": (lambda: kinked["residual"](1e-3), 0.01),
    "max-pooling": (lambda: kinked["max-pooling"](1e-3), 0.05),
}


@pytest.mark.parametrize("name", BRUTE)
def test_it_is_the_shortest_of_all_corners(name):
    make, tol = BRUTE[name]
    network = make()
    flow, q = three_samples(network)
    found = gflow.min_norm_subgradient(flow, network, tol, weights=q)
    exact = automatic(flow, gflow.nn.with_eps(network, 0.0), q)
    # The parts along the weights, all one at true ties.
    theta, rows = flat(_tree.normalize(network)), corners(flow, network, q, tol)
    rows = rows - np.outer(rows @ theta - exact @ theta, theta)
    assert found.free > 0
    assert len(rows) > 1
    h = flat(found.element)
    brute = gflow.reference.min_norm_point(rows)
    np.testing.assert_allclose(h, brute.point, rtol=0, atol=1e-7)
    assert found.norm <= brute.norm * (1 + 1e-14)
    # <h, u> >= |h|^2 for all elements u
    assert np.min(rows @ h) >= h @ h * (1 - 1e-13)
    assert found.norm <= np.linalg.norm(exact) * (1 + 1e-14)


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
    network = gflow.nn.MLP.from_weights(weights, eps=0.0)
    found = gflow.min_norm_subgradient(flow, network, weights=q)
    assert found.free == 3
    one_sided = automatic(flow, network, q)
    assert found.norm <= np.linalg.norm(one_sided) * (1 + 1e-14)
    # Gates of kinks in one layer give the element itself.
    again = replayed(flow, network, q, found.gates)
    np.testing.assert_allclose(again, flat(found.element), rtol=0, atol=1e-13)


@settings(max_examples=100)
@given(seeds, st.integers(1, 12), st.integers(1, 12))
def test_the_shortest_mixture_solves_least_squares_in_a_box(seed, count, size):
    random = np.random.default_rng(seed)
    base, rows = random.normal(size=size), random.normal(size=(count, size))
    rows *= 10.0 ** random.uniform(-3, 1, (count, 1))
    parts = [np.stack([0 * row, row]) for row in rows]
    point, shares = shortest_mixture(base, parts)
    box = scipy.optimize.lsq_linear(
        rows.T, -base, (0, 1), method="bvls", tol=1e-15, max_iter=1000
    )
    scale = np.linalg.norm(base) + np.sum(np.linalg.norm(rows, axis=1))
    reached = np.linalg.norm(rows.T @ box.x + base)
    assert np.linalg.norm(point) <= reached + 1e-14 * scale
    pulls = rows @ point
    gate = np.array([share[1] for share in shares])
    assert np.all((gate >= 0) & (gate <= 1))
    small = 1e-13 * scale * np.linalg.norm(rows, axis=1)
    assert np.all((gate == 0) | (pulls <= small))
    assert np.all((gate == 1) | (pulls >= -small))


@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 6))
def test_the_shortest_mixture_is_that_of_all_sums_of_corners(seed, counts, size):
    random = np.random.default_rng(seed)
    base = random.normal(size=size)
    parts = [random.normal(size=(count, size)) for count in counts]
    point, shares = shortest_mixture(base, parts)
    sums = [base + sum(choice) for choice in itertools.product(*parts)]
    brute = gflow.reference.min_norm_point(np.array(sums))
    scale = 1 + sum(np.abs(part).max() for part in parts)
    assert np.linalg.norm(point) <= brute.norm + 1e-13 * scale
    assert np.min(np.array(sums) @ point) >= point @ point - 1e-13 * scale**2
    mixed = base + sum(s @ part for s, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(point, mixed, rtol=0, atol=1e-13 * scale)
    for share in shares:
        assert np.all(share >= 0)
        assert np.sum(share) == pytest.approx(1, abs=1e-13)


@given(seeds, st.integers(1, 4), st.integers(0, 3), st.integers(2, 6))
def test_the_cone_is_that_of_all_corners(seed, count, kinks, size):
    random = np.random.default_rng(seed)
    target = random.normal(size=size)
    bases = target + random.normal(size=(count, size))
    changes = random.normal(size=(count, kinks, size))
    hulls = [
        Hull(0, base, [np.stack([0 * row, row]) for row in rows], [])
        for base, rows in zip(bases, changes, strict=True)
    ]
    multipliers, rest = nearest_in_cone(target, hulls)
    flips = np.array(list(itertools.product((0, 1), repeat=kinks)), dtype=float)
    rows = np.concatenate(
        [base + flips @ own for base, own in zip(bases, changes, strict=True)]
    )
    brute = gflow.reference.nonnegative_multipliers(target, rows)
    expected = np.linalg.norm(target - brute @ rows)
    assert np.linalg.norm(rest) == pytest.approx(expected, abs=1e-12)
    assert multipliers.shape == (count,)
    assert np.all(multipliers >= 0)


def test_a_trajectory_is_its_samples_one_by_one():
    flow = flow_of([[1.0, 0.5], [0.0, 1.0]], [1.0, -1.0])
    network = neuron([1.0, 0.0], 1e-3)
    until = gflow.Until(log_t=3.0)
    run = gflow.solve(flow, network, until=until, rtol=1e-6, progress=False)
    found = gflow.min_norm_subgradients(flow, run)
    last = jax.tree.map(lambda leaf: leaf[-1], _tree.parameters(run.direction))
    one = gflow.min_norm_subgradient(
        flow,
        eqx.combine(last, _tree.partition(run.direction)[1]),
        log_radius=run.log_radius[-1],
        weights=run.weights[-1],
    )
    ends = jax.tree.map(lambda leaf: leaf[-1], found)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(ends), strict=True):
        assert np.array_equal(a, b)
    # The sliding flow does not turn; JAX's subgradients do, on either side.
    arrays = (run.log_radius, run.weights)
    sliding = run.map(
        lambda net, rho, q, h: gflow.turning(flow, net, rho, q, h),
        *(*arrays, found.element),
    )
    one_sided = run.map(
        lambda net, rho, q: gflow.turning(flow, gflow.nn.with_eps(net, 0.0), rho, q),
        *arrays,
    )
    assert np.all(sliding < 1e-3)
    assert np.all(one_sided > 0.01)


def test_the_size_of_weights_plays_no_part():
    network = kinked["relu"](1e-3)
    flow, q = three_samples(network)
    one, other = (
        gflow.min_norm_subgradient(flow, _tree.scale(network, c), 0.02, weights=q)
        for c in (1.0, 1e-60)
    )
    np.testing.assert_allclose(
        flat(one.element), flat(other.element), rtol=0, atol=1e-14
    )
    # Without weights they follow from the margins at the radius.
    at = gflow.min_norm_subgradient(flow, network, 0.02, log_radius=1.0)
    own = gflow.min_norm_subgradient(
        flow, _tree.scale(network, np.e / float(_tree.norm(network))), 0.02
    )
    np.testing.assert_allclose(flat(at.element), flat(own.element), atol=1e-14)


def test_what_is_undefined_is_nan():
    flow = flow_of([[1.0, 2.0], [-1.0, -2.0]], [1.0, -1.0])
    far = gflow.min_norm_subgradient(flow, Smallest(jnp.ones(2)), log_radius=30.0)
    assert np.all(np.isnan(flat(far.element)))
    negative = gflow.clarke_kkt_residual(flow, Smallest(-jnp.ones(2)), 0.0)
    assert np.isnan(negative.stationarity)


class Hidden(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return jnp.sum(jax.vmap(gflow.nn.relu)(self.w * x))


SIGNS = flow_of(X4, np.array([1.0, -1.0, 1.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: gflow.min_norm_subgradient(SIGNS, Largest(jnp.ones(4)), -1.0),
            "`active_tol` must not be negative, but is -1.0",
        ),
        (
            lambda: gflow.clarke_kkt_residual(SIGNS, Largest(jnp.ones(4)), np.nan),
            "`within` must not be negative, but is nan",
        ),
        (
            lambda: gflow.min_norm_subgradient(
                gflow.GradientFlow(gflow.Square(), X4[:, :1], X4[:, 0]),
                Largest(jnp.ones(1)),
            ),
            "`flow` must have margins, but is one of regression",
        ),
        (
            lambda: gflow.min_norm_subgradient(
                SIGNS, gflow.nn.MLP(4, (9, 9), key=KEY), 10.0
            ),
            "`active_tol` must leave at most 4096 combinations",
        ),
        (
            lambda: gflow.min_norm_subgradient(SIGNS, Hidden(jnp.ones(4))),
            "`network` must call its kinks outside of",
        ),
    ],
    ids=["tolerance", "within", "regression", "combinations", "vmap"],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
