"""With many more margins than weights: factors in place of m x m matrices."""

import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate
from curves import distance
from gflow import _jacobian, _seen
from gflow._integrate import _unseen
from gflow._solvers import _positive, sample_space
from gflow._solvers._dual import linear_weights
from gflow._solvers._gram import (
    DenseGram,
    FactoredGram,
    gram_of,
    is_tall,
    solve_sum,
)
from gflow._solvers._newton import solve_newton
from gflow._solvers._positive import DensePositive
from gflow._solvers._weights import solve_weights
from jax.flatten_util import ravel_pytree
from tiers import but_slow


M, N = 90, 7


def grams(kind, seed=0):
    """One K as a matrix and by its factors."""
    random = np.random.default_rng(seed)
    jacobian = jnp.asarray(random.normal(size=(M, N)))
    middle = {
        "diagonal": random.uniform(0.1, 3, N),
        "flat": np.diag(random.uniform(0.1, 3, N)),
        "curved": np.linalg.inv(np.eye(N) + 0.3 * random.normal(size=(N, N))),
    }[kind]
    whole = np.diag(middle) if middle.ndim == 1 else middle
    response = jacobian @ jnp.asarray(whole).T
    dense = DenseGram(jacobian @ response.T, response)
    return dense, FactoredGram(jacobian, jnp.asarray(middle)), random


each_kind = pytest.mark.parametrize("kind", ["diagonal", "flat", "curved"])


def close(actual, expected, rtol=1e-11):
    size = np.max(np.abs(expected))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * size)


@each_kind
@pytest.mark.parametrize("eta", [1e-6, 1.0, 1e6])
def test_both_answer_alike(kind, eta):
    dense, tall, random = grams(kind)
    v = jnp.asarray(random.normal(size=M))
    close(tall.times(v), dense.times(v))
    close(tall.answer(v), dense.answer(v))
    matrix = np.eye(M) + eta * np.asarray(dense.matrix)
    for gram in (dense, tall):
        found = np.asarray(gram.resolve(eta, v))
        rounding = 1e-16 * np.linalg.norm(matrix) * np.linalg.norm(v)
        np.testing.assert_allclose(matrix @ found, v, rtol=0, atol=100 * rounding)
    column = jnp.asarray(random.normal(size=M))
    right = jnp.asarray(random.normal(size=(M, 2)))
    answers = [solve_sum(*gram.without(column), right) for gram in (dense, tall)]
    close(*answers, 1e-8)
    flat = jnp.asarray(kind != "curved")
    (one, fine), (other, too) = (gram.positive(flat) for gram in (dense, tall))
    assert np.isfinite(fine)
    assert np.isfinite(too)
    chosen = jnp.array([3, 50, 4])
    motions = [half.motion(v) for half in (one, other)]
    close(other.image(motions[1]), one.image(motions[0]), 1e-8)
    close(other.size(v, motions[1]), one.size(v, motions[0]), 1e-8)
    close(other.diagonal(), one.diagonal(), 1e-8)
    close(other.block(chosen, 0.3).matrix, one.block(chosen, 0.3).matrix, 1e-8)
    answer = tall.answer_to(other, v, motions[1])
    close(answer, dense.answer_to(one, v, motions[0]), 1e-8)
    close(tall.motion_to(other, v, answer), motions[1], 1e-8)


def test_what_is_not_positive_is_seen():
    dense, tall, _ = grams("flat")
    bad = FactoredGram(tall.jacobian, tall.middle.at[2, 2].set(-1.0))
    assert not np.isfinite(bad.positive(jnp.asarray(False))[1])
    matrix = bad.jacobian @ bad.middle @ bad.jacobian.T
    wrong = DenseGram(matrix, bad.jacobian)
    assert not np.isfinite(wrong.positive(jnp.asarray(False))[1])
    assert np.isfinite(dense.positive(jnp.asarray(False))[1])


@pytest.mark.parametrize("per_sample", [1, 3])
@pytest.mark.parametrize("log_rate", [-3.0, 6.0, 18.0])
def test_newtons_system_is_solved_by_factors(per_sample, log_rate):
    dense, tall, random = grams("flat", 1)
    q = jax.nn.softmax(jnp.asarray(4 * random.normal(size=M)))
    decay, shares = jnp.asarray(random.uniform(0.2, 1, M)), None
    if per_sample > 1:
        parts = random.uniform(0.1, 1, (M // per_sample, per_sample))
        shares = jnp.asarray(0.9 * parts / np.sum(parts, axis=1, keepdims=True))
    right = jnp.asarray(random.normal(size=(M, 2)))
    rate, flat = np.exp(log_rate), jnp.asarray(True)
    images = []
    for gram in (dense, tall):
        half = gram.positive(flat)[0]
        ahead = jnp.zeros((half.rank, 2))
        found, motion = solve_newton(
            rate, half, jnp.asarray(0.1), q, decay, shares,
            lambda solve, ahead=ahead: solve(right, ahead),
        )  # fmt: skip
        # What they do to the margins: the weights themselves may cancel.
        images.append(dense.matrix @ found)
        close(half.image(motion.T).T, images[-1], 1e-7)
    close(images[1], images[0], 1e-7)


@pytest.mark.parametrize(
    "loss",
    [gflow.Logistic(), pytest.param(gflow.Exponential(), marks=pytest.mark.slow)],
    ids=repr,
)
def test_weights_of_a_stage_are_the_same(loss):
    dense, tall, random = grams("flat", 2)
    flow = gflow.GradientFlow(loss, np.ones((M, 1)), np.resize([1.0, -1.0], M))
    shift, seen = jnp.asarray(0.1 * random.normal(size=M)), jnp.ones(M, bool)
    halves = [gram.positive(jnp.asarray(True))[0] for gram in (dense, tall)]
    found = [jnp.full(M, 1 / M)] * 2
    for log_scale in (0.0, 4.0, 6.0, 7.0, 8.0):  # each is the guess of the next
        for k, half in enumerate(halves):
            found[k], _, error = solve_weights(
                flow, found[k], shift, half, np.exp(log_scale), seen, 0.3,
                jnp.asarray(1e-13), half.motion(found[k]),
            )  # fmt: skip
            assert float(error) <= 1e-13
            assert float(jnp.sum(found[k])) == pytest.approx(1.0, rel=1e-12)
        # The motion of the stage is what they are for.
        close(dense.times(found[1]), dense.times(found[0]), 1e-8)
        margins = np.exp(log_scale) * (shift + 0.3 * dense.times(found[0]))
        residual = jnp.log(found[0]) - flow.log_weights(margins)
        assert float(jnp.ptp(residual[found[0] > 1e-9])) <= 1e-6


def test_steps_for_any_matrix_are_the_same():
    dense, tall, random = grams("curved", 3)
    flow = gflow.GradientFlow(gflow.Logistic(), np.ones((M, 1)), np.ones(M))
    q = jax.nn.softmax(jnp.asarray(random.normal(size=M)))
    shift, seen = jnp.asarray(0.1 * random.normal(size=M)), jnp.ones(M, bool)
    found = [
        linear_weights(flow, q, shift, gram, 5.0, seen, 0.3) for gram in (dense, tall)
    ]
    close(*found, 1e-9)


def test_the_kind_is_chosen_by_the_shape():
    assert not is_tall(64, 2)
    assert not is_tall(200, 110)
    assert is_tall(200, 20)
    jacobian = jnp.ones((200, 20))
    assert isinstance(gram_of(jacobian, jacobian, jnp.ones(20)), FactoredGram)
    assert isinstance(gram_of(jacobian[:50], jacobian[:50], None), DenseGram)
    assert isinstance(
        DenseGram(jnp.eye(2), jnp.eye(2)).positive(True)[0], DensePositive
    )


def tall_problem(seed, loss=None, samples=150, noise=0.3, power=2):
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, 3))
    y = np.sign(x @ random.normal(size=3) + noise * random.normal(size=samples))
    network = gflow.nn.MLP(3, (4,), power=power, key=jr.key(seed))
    loss = gflow.Logistic() if loss is None else loss
    return gflow.GradientFlow(loss, x, y), network


@pytest.mark.slow
@pytest.mark.parametrize("loss", [gflow.Logistic(), gflow.Square()], ids=repr)
def test_the_flow_is_the_same_with_matrices(monkeypatch, loss):
    flow, network = tall_problem(3, loss, noise=0.0)
    until = gflow.Until(log_t=4.0)
    options = {"until": until, "rtol": 1e-7, "progress": False}
    tall = gflow.solve(flow, network, **options)
    monkeypatch.setattr(_jacobian, "SMALL", 10**6)
    jax.clear_caches()
    dense = gflow.solve(flow, network, **options)
    times = np.linspace(-2, 4, 7)
    one, other = tall.at(log_t=times), dense.at(log_t=times)
    assert np.max(distance(one, other)) <= 4e-5
    jax.clear_caches()


@pytest.mark.parametrize("power", but_slow([2, 3], 3))
@pytest.mark.parametrize("seed", [0, 5])
def test_many_samples_that_turn_off_and_on_flow_as_scipy_says(seed, power):
    # Each loses sight of all units now and then, and is seen again within a step.
    flow, network = tall_problem(seed, samples=200, power=power)
    start, unravel = ravel_pytree(network)

    @jax.jit
    def velocity(w):
        return -jax.grad(lambda w: jnp.exp(flow.log_loss(unravel(w))))(w)

    times = np.array([1.0, 3.0, 4.5])
    exact = scipy.integrate.solve_ivp(
        lambda _, w: np.asarray(velocity(w)), (0, np.exp(times[-1])), np.asarray(start),
        method="LSODA", rtol=1e-10, atol=1e-12, t_eval=np.exp(times),
    ).y.T  # fmt: skip
    until = gflow.Until(log_t=times[-1])
    for rtol in (1e-5, 1e-7):
        run = gflow.solve(flow, network, until=until, rtol=rtol, progress=False)
        found = [ravel_pytree(point.network)[0] for point in run.at(log_t=times)]
        errors = np.linalg.norm(np.stack(found) - exact, axis=1)
        # Errors grow by some sixty times on the way, by perturbed runs of SciPy.
        assert np.max(errors / np.linalg.norm(exact, axis=1)) <= 300 * rtol


@pytest.mark.parametrize("seed", [2, 7])
def test_features_of_all_sizes_flow_as_scipy_says(seed):
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-1, 3, 8)
    x = random.normal(size=(160, 8)) * sizes
    y = np.sign(x @ (random.normal(size=8) / sizes) + 0.3 * random.normal(size=160))
    network = gflow.nn.DeepLinear.from_weights([1e-3 * random.normal(size=8)])
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    run = gflow.solve(flow, network, until=gflow.Until(log_t=7.0), progress=False)
    exact = ravel_pytree(gflow.testing.follow(flow, network, 7.0))[0]
    found = ravel_pytree(run[-1].network)[0]
    assert np.linalg.norm(found - exact) <= 1e-4 * np.linalg.norm(exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (_unseen, "SHARES", 3 * _unseen.SHARES),
        (_positive, "REFINED", 0),
        (_seen, "LIGHT", -1.0),
    ],
    ids=["shares", "refined", "light"],
)
def test_other_constants_are_the_same_answer(module, name, value, monkeypatch):
    flow, network = tall_problem(5, samples=200)
    until, rtol = gflow.Until(log_t=3.0), 1e-6
    implicit = gflow.solvers.SampleSpaceKvaerno5()
    options = {"until": until, "rtol": rtol, "progress": False, "solver": implicit}
    if module is _positive:  # which stages for the weights alone do not ask
        monkeypatch.setattr(sample_space, "DIRECT", 0)
    if module is _unseen:  # which ask for samples that do not count
        monkeypatch.setattr(_seen, "LIGHT", -1.0)
    expected = gflow.solve(flow, network, **options)
    monkeypatch.setattr(module, name, value)
    jax.clear_caches()
    found = gflow.solve(flow, network, **options)
    jax.clear_caches()
    assert not np.array_equal(found.tau, expected.tau)  # other steps were taken
    # Twice what each is right to, against SciPy.
    assert distance(found[-1:], expected[-1:])[0] <= 600 * rtol
