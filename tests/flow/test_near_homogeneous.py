"""Near-homogeneous networks (Cai et al. 2025): the modified margin grows."""

import math

import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiers import but_slow


WIDTH = 6
# sup |u phi'(u) - phi(u)| and, for the reference, phi itself.
KAPPA = {
    "softplus": math.log(2),
    "silu": 0.439229,
    "gelu": 2 / (math.e * math.sqrt(2 * math.pi)),
    "leaky_silu": 0.8 * 0.439229,
}


def data():
    """Eight points in the unit ball of four dimensions, separable by a hyperplane."""
    x, y = gflow.data.separable(8, 4, shift=0.3, seed=2)
    return x / np.max(np.linalg.norm(x, axis=1)), y


def network(name, **options):
    return gflow.nn.SmoothMLP(4, (WIDTH,), activation=name, key=jr.key(3), **options)


def margins_along(name, log_t=1e6):
    flow = gflow.GradientFlow(gflow.Exponential(), *data())
    curve = gflow.solve(
        flow, network(name, bias=False), until=gflow.Until(log_t=log_t), rtol=1e-7,
        progress=False,
    )  # fmt: skip
    bound = (0.0, KAPPA[name] * math.sqrt(WIDTH))
    modified = curve.map(lambda point: gflow.margins.modified(point, 2, bound))
    alpha = -np.asarray(curve.log_loss) - math.log(flow.samples)
    return curve, np.asarray(modified), alpha / np.exp(2 * np.asarray(curve.log_radius))


@pytest.mark.parametrize("name", KAPPA)
def test_the_constants_are_what_they_are_called(name):
    def excess(u):
        return jnp.abs(u * jax.grad(phi)(u) - phi(u))

    phi = network(name).activation
    grid = jnp.linspace(-40, 40, 400_001)
    largest = float(jnp.max(jax.vmap(excess)(grid)))
    assert abs(largest - KAPPA[name]) <= 1e-6


@pytest.mark.parametrize("name", but_slow(KAPPA, "silu", "gelu", "leaky_silu"))
def test_the_modified_margin_grows_to_log_times_of_a_million(name):
    curve, modified, _ = margins_along(name)
    assert curve.result == gflow.RESULTS.successful
    assert curve.degree is None
    assert curve.log_t[-1] == 1e6
    positive = modified[modified > 0]
    assert positive.size > 10
    assert np.all(np.diff(positive) >= -1e-8 * positive[1:])


def test_the_unmodified_margin_does_not():
    _, modified, plain = margins_along("leaky_silu")
    late = modified > 0
    assert np.all(np.diff(modified[late]) >= -1e-8 * modified[late][1:])
    drop = np.max(plain[late]) - plain[late][-1]
    assert drop > 100 * 1e-7 * np.max(plain)  # far above the tolerance


@pytest.mark.parametrize("name", ["gelu", "leaky_silu"])
def test_far_out_the_network_is_its_homogenization(name):
    # |f(c w) / c^2 - f_H(w)| falls like 1/c.
    net = network(name, bias=False)
    x = data()[0][0]
    leak = 0.2 if name == "leaky_silu" else 0.0
    hidden = net.weights[0] @ x
    limit = net.weights[1] @ jnp.where(hidden > 0, hidden, leak * hidden)

    def gap(c):
        scaled = jax.tree.map(lambda w: c * w, net)
        return abs(float(scaled(jnp.asarray(x)) / c**2 - limit))

    bound = KAPPA[name] * math.sqrt(WIDTH)
    assert gap(1e2) <= bound / 1e2
    assert gap(1e4) <= bound / 1e4
