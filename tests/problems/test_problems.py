import math

import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import problems, reference


PROBLEMS = {
    "linear": (problems.linear, 3),
    "relu2": (problems.relu2, 3),
    "cubic": (problems.cubic, 4),
    "held": (problems.held, 3),
    "digits": (problems.digits, 3),
    "mexican_hat": (problems.mexican_hat, 2),
}
each_problem = pytest.mark.parametrize(
    ("make", "degree"), PROBLEMS.values(), ids=PROBLEMS.keys()
)


@each_problem
def test_a_problem_is_a_flow_and_a_network_of_the_stated_degree(make, degree):
    flow, network = make()
    assert network.degree == degree
    assert gflow.degree(network, flow.x) == pytest.approx(degree)
    assert flow.margins(network).shape == flow.y.shape


@each_problem
def test_scale_multiplies_every_weight(make, degree):
    flow, network = make()
    small = make(scale=1e-50).network
    for a, b in zip(jax.tree.leaves(network), jax.tree.leaves(small), strict=True):
        assert jnp.allclose(b, 1e-50 * a, rtol=1e-15, atol=0)
    margins = flow.margins(make(scale=2.0).network)
    assert jnp.allclose(margins, 2.0**degree * flow.margins(network), rtol=1e-14)


@each_problem
def test_the_loss_can_be_chosen(make, degree):
    del degree
    assert isinstance(make().flow.loss, gflow.Logistic)
    assert isinstance(make(loss=gflow.Exponential()).flow.loss, gflow.Exponential)


def forward(layers, x, activation):
    for weight in layers[:-1]:
        x = activation(x @ weight.T)
    return x @ layers[-1]


@pytest.mark.parametrize("power", [0, 2, 3])
def test_toy_networks_continue_the_draw_of_their_points(power):
    """The outputs again, in NumPy: the stream is points, teacher, weights."""
    make = {0: problems.linear, 2: problems.relu2, 3: problems.cubic}[power]
    flow, network = make()
    random = np.random.default_rng(0)
    random.normal(size=20 * 10 + 10)
    shapes = [(10, 10), (10, 10), (10,)] if power == 0 else [(10, 10), (10,)]
    layers = [random.normal(size=shape) / math.sqrt(10) for shape in shapes]

    def activation(u):
        return u if power == 0 else np.maximum(u, 0.0) ** power

    expected = forward(layers, np.asarray(flow.x), activation)
    outputs = jax.vmap(network)(flow.x)
    assert jnp.allclose(outputs, expected, rtol=0, atol=1e-15 * np.ptp(expected))


@pytest.mark.parametrize(
    ("make", "shapes", "seed"),
    [
        (problems.held, [(9, 7), (9,)], 2),
        (problems.digits, [(10, 64), (10,)], 0),
        (lambda: problems.digits(30, 4), [(4, 64), (4,)], 0),
    ],
    ids=["held", "digits", "few digits"],
)
def test_other_networks_have_a_draw_of_their_own(make, shapes, seed):
    flow, network = make()
    random = np.random.default_rng(seed)
    layers = [random.normal(size=shape) / math.sqrt(shape[-1]) for shape in shapes]
    expected = forward(layers, np.asarray(flow.x), lambda u: np.maximum(u, 0.0) ** 2)
    outputs = jax.vmap(network)(flow.x)
    assert jnp.allclose(outputs, expected, rtol=0, atol=1e-15 * np.ptp(expected))


def test_seeds_of_held_share_weights_and_differ_in_points():
    one, two = problems.held(), problems.held(5)
    leaves = zip(
        jax.tree.leaves(one.network), jax.tree.leaves(two.network), strict=True
    )
    assert all(jnp.array_equal(a, b) for a, b in leaves)
    assert not jnp.array_equal(one.flow.x, two.flow.x)


def test_linear_reaches_its_stated_margin_at_balanced_rank_one_weights():
    """W_l = u_l u_(l-1)^T / sqrt(3), with u_0 the hard-margin direction."""
    flow, _ = problems.linear()
    best = reference.hard_margin(flow.x, flow.y)
    unit = np.eye(10)[0]
    layers = [np.outer(unit, best.direction), np.outer(unit, unit), unit]
    layers = [jnp.asarray(layer) / math.sqrt(3) for layer in layers]
    optimum = gflow.nn.DeepLinear.from_weights(layers)
    norm = math.sqrt(sum(float(jnp.sum(layer**2)) for layer in layers))
    assert math.isclose(norm, 1.0, rel_tol=1e-15)
    margin = float(jnp.min(flow.margins(optimum)))
    assert math.isclose(margin, best.margin / 3**1.5, rel_tol=1e-14)


@each_problem
@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_not_positive_is_refused(make, degree, scale):
    del degree
    with pytest.raises(ValueError, match=f"`scale` must be positive .* is {scale}"):
        make(scale=scale)


def test_bad_sizes_of_digits_are_named():
    with pytest.raises(ValueError, match="`width` must be at least 1, but is 0"):
        problems.digits(width=0)
    with pytest.raises(ValueError, match="`samples` must be at most 357"):
        problems.digits(samples=400)
