"""Steepest flows in other norms: their directions, laws, clocks and limits."""

import functools
import logging

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from curves import directions
from gflow.clocks import ArcLength, LogTime, Polar
from gflow.norms import _ready
from gflow.problems import gaussians
from tiers import but_slow


NORMS = ("l2", "linf", "l1", "spectral")
SIZES = ((4, 3), (5,), (2, 3, 2, 2), ())
COUNT = 12 + 5 + 24 + 1
ENTRIES = [slice(0, 12), slice(12, 17), slice(17, 41), slice(41, 42)]
RTOL = 1e-6

each_norm = pytest.mark.parametrize("name", NORMS)
each_smoothing = pytest.mark.parametrize("smoothing", [1.0, 1e-6])


def norm_of(name, smoothing):
    return _ready.NORMS[name](smoothing, SIZES)


def pulls():
    """Vectors of all kinds: general, equal entries, layers of rank one, few entries."""
    random = np.random.default_rng(0)
    general = random.normal(size=COUNT)
    thin = np.concatenate(
        [np.ravel(np.outer(random.normal(size=4), random.normal(size=3))), general[12:]]
    )
    return {
        "general": general,
        "equal": np.sign(general),
        "rank one": thin,
        "sparse": np.where(np.arange(COUNT) % 7 == 3, general, 0.0),
        "tiny": 1e-140 * general,
    }


each_pull = pytest.mark.parametrize("pull", pulls().values(), ids=pulls())


def named(name, w):
    """The norm that is meant, by NumPy."""
    parts = [w[entries] for entries in ENTRIES]
    shapes = [(4, 3), (1, 5), (2, 12), (1, 1)]
    matrices = [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
    return {
        "l2": np.linalg.norm(w),
        "linf": np.max(np.abs(w)),
        "l1": np.sum(np.abs(w)),
        "spectral": max(np.linalg.norm(matrix, 2) for matrix in matrices),
    }[name]


@each_norm
@each_smoothing
def test_the_smoothed_norm_is_near_the_named_one(name, smoothing):
    random = np.random.default_rng(1)
    extremes = [np.ones(COUNT), np.eye(COUNT)[3], *random.normal(size=(20, COUNT))]
    for w in extremes:
        ratio = (float(norm_of(name, smoothing)(jnp.asarray(w))) / named(name, w)) ** 2
        assert 1 - 1e-14 <= ratio <= 1 + smoothing + 1e-14


@each_norm
@each_smoothing
@each_pull
def test_the_direction_is_the_steepest(name, smoothing, pull):
    # <v, D> = |D|^2 and <v, u> <= |D| |u| for all u: D attains the dual norm of v.
    norm, random = norm_of(name, smoothing), np.random.default_rng(2)
    motion = norm.direction(jnp.asarray(pull))
    inner, size = float(jnp.dot(pull, motion)), float(norm(motion))
    assert abs(inner / size**2 - 1) <= 1e-9
    for u in [*random.normal(size=(50, COUNT)), pull, np.sign(pull)]:
        other = motion + 1e-3 * size * u / np.linalg.norm(u)
        for candidate in (jnp.asarray(u), other):
            ratio = jnp.dot(pull, candidate) / (size * norm(candidate))
            # In l_1 the motion is what is left of `pull` above a level near its top.
            assert float(ratio) <= 1 + 1e-12 + 1e-16 / smoothing


@pytest.mark.parametrize("smoothing", [1.0, 1e-2])
@pytest.mark.parametrize("kind", ["general", "rank one"])
@each_norm
def test_tangents_are_the_derivative_of_the_direction(name, smoothing, kind):
    norm, pull = norm_of(name, smoothing), jnp.asarray(pulls()[kind])
    rows = jnp.asarray(np.random.default_rng(3).normal(size=(6, COUNT)))
    step = 1e-6
    slopes = [
        (norm.direction(pull + step * row) - norm.direction(pull - step * row))
        / (2 * step)
        for row in rows
    ]
    found = norm.tangents(pull, rows)
    assert np.max(np.abs(found - jnp.stack(slopes))) <= 1e-6 * np.max(np.abs(found))


@each_norm
@each_pull
def test_tangents_are_symmetric_and_positive(name, pull):
    norm = norm_of(name, 1e-2)
    matrix = np.asarray(norm.tangents(jnp.asarray(pull), jnp.eye(COUNT)))
    size = np.max(np.abs(matrix))
    assert np.max(np.abs(matrix - matrix.T)) <= 1e-10 * size
    assert np.min(np.linalg.eigvalsh(matrix)) >= -1e-10 * size
    # Euler's identity: D is homogeneous of degree 1.
    again = matrix @ (pull / np.max(np.abs(pull)))
    motion = np.asarray(norm.direction(jnp.asarray(pull))) / np.max(np.abs(pull))
    assert np.max(np.abs(again - motion)) <= 1e-9 * np.max(np.abs(motion))


def test_directions_tend_to_those_of_the_named_norms():
    v = pulls()["general"]
    found = {name: norm_of(name, 1e-7).direction(jnp.asarray(v)) for name in NORMS}
    np.testing.assert_allclose(found["l2"], v)
    np.testing.assert_allclose(found["linf"], np.sum(np.abs(v)) * np.sign(v), rtol=1e-5)
    top = np.argmax(np.abs(v))
    np.testing.assert_allclose(found["l1"], v[top] * np.eye(COUNT)[top], atol=1e-5)
    shapes = [(4, 3), (1, 5), (2, 12), (1, 1)]
    factors = [
        np.linalg.svd(v[entries].reshape(shape), full_matrices=False)
        for entries, shape in zip(ENTRIES, shapes, strict=True)
    ]
    total = sum(np.sum(values) for _, values, _ in factors)
    polar = np.concatenate([np.ravel(left @ right) for left, _, right in factors])
    np.testing.assert_allclose(found["spectral"], total * polar, rtol=1e-5)


@functools.cache
def data():
    return gflow.data.separable(12, 5, shift=0.2, seed=1)


@functools.cache
def network(kind):
    random = np.random.default_rng(0)
    if kind == "relu2":
        weights = gaussians(random, [(8, 5), (8,)], 0.5)
        return gflow.nn.MLP.from_weights(weights, power=2)
    shapes = {"linear": [(5,)], "deep linear": [(3, 5), (3,)]}[kind]
    return gflow.nn.DeepLinear.from_weights(gaussians(random, shapes, 0.5))


@functools.cache
def run(kind, norm, smoothing=0.03, log_scale=25.0):
    flow = gflow.SteepestFlow(
        gflow.Exponential(), *data(), norm=norm, smoothing=smoothing
    )
    until = gflow.Until(log_margin_scale=log_scale)
    return gflow.solve(flow, network(kind), until=until, rtol=RTOL, progress=False)


def last(trajectory):
    return jax.tree.map(lambda leaf: leaf[-1], trajectory.direction)


# No theorem promises it for ReLU^2: with four units, not eight, the l1 flow ends with a
# larger l2 margin than the l2 flow.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["relu2", "deep linear"])
def test_each_flow_ends_with_the_largest_margin_in_its_own_norm(kind):
    norms = ("l2", "linf", "l1")
    ends = {norm: last(run(kind, norm)) for norm in norms}
    flow = run(kind, "l2").field.flow
    table = [
        [
            float(gflow.margins.in_norm(gflow.point(flow, ends[of]), norm))
            for of in norms
        ]
        for norm in norms
    ]
    assert np.argmax(table, axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "norm"),
    [*(("relu2", norm) for norm in NORMS), ("linear", "linf"), ("linear", "l1")],
)
def test_the_steepest_margin_never_falls(kind, norm):
    # Tsilivis, Vardi and Kempe (2025), Theorem 1, for the smoothed norm as it is.
    # In the spectral norm a smaller smoothing leaves samples at which all neurons die.
    trajectory = run(kind, norm, 0.3 if norm == "spectral" else 0.03)
    margins = trajectory.map(gflow.margins.steepest)
    # Exact at the ends of steps; the last time lies within one.
    positive = np.asarray(margins)[:-1]
    positive = np.log(positive[positive > 0])
    assert len(positive) > 20
    assert np.min(np.diff(positive)) >= -1e-13
    assert positive[-1] > positive[0] + 0.01


def test_the_steepest_margin_of_a_gradient_flow_is_the_smoothed_one():
    flow = gflow.GradientFlow(gflow.Exponential(), *data())
    net = last(run("relu2", "l2"))
    for rho in (1.0, 5.0):
        one = gflow.margins.steepest(gflow.point(flow, net, log_radius=rho))
        assert (
            abs(
                one / gflow.margins.smoothed(gflow.point(flow, net, log_radius=rho)) - 1
            )
            <= 1e-14
        )


@pytest.mark.parametrize(
    ("norm", "smoothing"),
    [("linf", 1e-2), ("linf", 1e-3), ("l1", 1e-3), ("l1", 1e-4)],
)
def test_linear_models_end_at_the_linear_program(norm, smoothing):
    # For a small smoothing the vertex is the same: no extrapolation.
    trajectory = run("linear", norm, smoothing)
    exact = gflow.reference.hard_margin(*data(), norm=norm).margin
    found = gflow.margins.in_norm(
        gflow.point(trajectory.field.flow, last(trajectory)), norm
    )
    assert abs(float(found) / exact - 1) <= 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "smoothing", "share"), [("linf", 1e-2, 3), ("l1", 3e-4, 1 / 4)]
)
def test_deep_linear_networks_end_at_the_linear_program(norm, smoothing, share):
    # Of width h: all h rows at the vertex for l_inf; one neuron, halved, for l_1.
    trajectory = run("deep linear", norm, smoothing, 60.0)
    exact = share * gflow.reference.hard_margin(*data(), norm=norm).margin
    found = gflow.margins.in_norm(
        gflow.point(trajectory.field.flow, last(trajectory)), norm
    )
    assert abs(float(found) / exact - 1) <= 1e-8


TIMES = [-2.0, 0.0, 1.0, 3.0, 8.0, 12.0]


def to_time(flow, kind, clock=None, rtol=RTOL):
    return gflow.solve(
        flow, network(kind), until=gflow.Until(log_t=TIMES[-1]), rtol=rtol,
        clock=clock, progress=False,
    ).at(log_t=TIMES)  # fmt: skip


def distance(one, other):
    apart = np.linalg.norm(directions(one) - directions(other), axis=1)
    return max(np.max(apart), np.max(np.abs(one.log_radius - other.log_radius)))


def test_l2_is_the_gradient_flow():
    plain = to_time(gflow.GradientFlow(gflow.Logistic(), *data()), "relu2")
    flow = gflow.SteepestFlow(gflow.Logistic(), *data(), norm="l2")
    # Two curves, each within tens of its tolerance.
    assert distance(plain, to_time(flow, "relu2")) <= 40 * RTOL


# The steepest direction has kinks, which steps do not see coming: the error falls more
# slowly than the tolerance, from tens of it to hundreds.
@pytest.mark.parametrize(
    ("clock", "rtol", "most"), [(ArcLength(), 1e-4, 4e-3), (LogTime(), 1e-7, 5e-5)]
)
@pytest.mark.parametrize("norm", but_slow(["linf", "spectral"], "spectral"))
def test_one_trajectory_whatever_the_clock(norm, clock, rtol, most):
    flow = gflow.SteepestFlow(gflow.Logistic(), *data(), norm=norm, smoothing=0.3)
    curves = (to_time(flow, "relu2", each, rtol) for each in (None, clock))
    assert distance(*curves) <= most


@pytest.mark.parametrize("norm", ["linf", "l1", "spectral"])
def test_a_solver_of_scipy_finds_the_same(norm):
    flow = gflow.SteepestFlow(gflow.Logistic(), *data(), norm=norm, smoothing=0.3)
    moving, structure = jax.flatten_util.ravel_pytree(network("relu2"))
    measure = flow.norm_of(((8, 5), (8,)))

    @jax.jit
    def velocity(t, w):
        slope = jax.grad(lambda w: jnp.exp(flow.log_loss(structure(w))))(w)
        return measure.direction(-slope)

    end = np.exp(3.0)
    plain = scipy.integrate.solve_ivp(
        velocity, (0.0, end), np.asarray(moving), method="LSODA", rtol=1e-10, atol=1e-12
    )
    curve = gflow.solve(
        flow, network("relu2"), until=gflow.Until(log_t=3.0), rtol=1e-8, progress=False
    )
    w = directions(curve)[-1] * np.exp(curve.log_radius[-1])
    size = np.linalg.norm(plain.y[:, -1])
    assert np.linalg.norm(w - plain.y[:, -1]) <= 1e-5 * size


def test_another_smoothing_compiles_nothing_anew(caplog):
    def run(smoothing):
        flow = gflow.SteepestFlow(
            gflow.Logistic(), *data(), norm="l1", smoothing=smoothing
        )
        until = gflow.Until(log_t=-2.0)
        gflow.solve(flow, network("relu2"), until=until, rtol=1e-3, progress=False)

    def compiled(smoothing):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            run(smoothing)
        done = [r for r in caplog.messages if "Finished XLA compilation" in r]
        return sum("advance" in message for message in done)

    jax.clear_caches()
    assert compiled(0.1) == 1
    assert compiled(0.2) == 0


BAD = {
    "no norm": ({"norm": "l3"}, "`norm` must be one of"),
    "a number": ({"norm": 2}, "`norm` must be one of"),
    "zero": ({"norm": "l1", "smoothing": 0.0}, "`smoothing` must be a number from"),
    "negative": ({"norm": "l1", "smoothing": -1.0}, "`smoothing` must be a number"),
    "large": ({"norm": "l1", "smoothing": 2.0}, "`smoothing` must be a number from"),
    "nan": ({"norm": "l1", "smoothing": np.nan}, "`smoothing` must be a number from"),
    "text": ({"norm": "l1", "smoothing": "tiny"}, "`smoothing` must be a number from"),
    "a list": ({"norm": "l1", "smoothing": [0.1]}, "`smoothing` must be a number"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        gflow.SteepestFlow(gflow.Logistic(), *data(), **options)


def test_data_are_checked_as_for_the_gradient_flow():
    x, y = data()
    with pytest.raises(ValueError, match="as many samples"):
        gflow.SteepestFlow(gflow.Logistic(), x[1:], y, norm="l1")


def test_the_polar_clock_is_refused():
    flow = gflow.SteepestFlow(gflow.Logistic(), *data(), norm="linf")
    with pytest.raises(
        ValueError, match=r"`clock` must not be Polar\(\) for a `gflow.St"
    ):
        gflow.solve(
            flow, network("relu2"), until=gflow.Until(log_t=1.0), clock=Polar(),
            progress=False,
        )  # fmt: skip


def test_norm_margin_wants_a_norm():
    flow = gflow.GradientFlow(gflow.Logistic(), *data())
    with pytest.raises(ValueError, match="`norm` must be one of"):
        gflow.margins.in_norm(gflow.point(flow, network("relu2")), "frobenius")
