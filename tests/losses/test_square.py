"""The square loss: deep linear networks whose modes move alone, in closed form."""

import gflow
import jax
import jax.random as jr
import numpy as np
import pytest


STRENGTHS = np.array([3.0, 2.0, 1.0])


def orthonormal(random, rows, columns):
    return np.linalg.qr(random.normal(size=(rows, columns)))[0]


def modes(start):
    """A balanced two-layer linear network on white inputs; its product at any time.

    With targets U S V' x and weights U sqrt(a) Q', Q sqrt(a) V', each mode obeys
    a' = 2 a (s - a).
    """
    # Where the strongest mode has risen, the weakest of a start at 1e-12 is 4e-9: in
    # other axes than its own, rounding alone would cost it eight digits.
    if start < 1e-9:
        u, v, inner = np.eye(3), np.eye(4, 3), np.eye(5, 3)
    else:
        random = np.random.default_rng(0)
        u, v = orthonormal(random, 3, 3), orthonormal(random, 4, 3)
        inner = orthonormal(random, 5, 3)
    a = np.array([1.0, 0.7, 0.5]) * start
    x = np.sqrt(4) * np.eye(4)  # the mean of x x' is the identity
    y = x @ v @ np.diag(STRENGTHS) @ u.T
    weights = [inner @ np.diag(a) @ v.T, u @ np.diag(a) @ inner.T]
    network = gflow.nn.DeepLinear.from_weights(weights)

    def product(t):
        decayed = (STRENGTHS / a**2 - 1) * np.exp(-2 * STRENGTHS * t)
        return u @ np.diag(STRENGTHS / (1 + decayed)) @ v.T

    return gflow.GradientFlow(gflow.Square(), x, y), network, product


@pytest.mark.parametrize("start", [1e-3, 1e-6, 1e-12])
@pytest.mark.parametrize("clock", [None, gflow.clocks.Time()])
def test_decoupled_modes_rise_when_theory_says(start, clock):
    flow, network, product = modes(start)
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_t=np.log(60.0)),
        rtol=1e-12 if start > 1e-9 else 3e-13, clock=clock, progress=False,
    )  # fmt: skip
    first, second = (np.asarray(w) for w in curve.network.weights)
    found = second @ first
    expected = np.stack([product(t) for t in np.exp(curve.log_t)])
    size = np.linalg.norm(expected, axis=(1, 2))
    error = np.linalg.norm(found - expected, axis=(1, 2)) / size
    assert np.max(error) <= 1e-8
    loss = 0.5 * np.sum((expected - product(np.inf)) ** 2, axis=(1, 2))
    early = loss > 1e-10
    np.testing.assert_allclose(
        np.exp(curve.log_loss)[early], loss[early], rtol=1e-6, atol=1e-14
    )


def test_regression_agrees_with_descent_of_tiny_steps():
    random = np.random.default_rng(1)
    x, y = random.normal(size=(6, 3)), random.normal(size=6)
    network = gflow.nn.MLP(3, (4,), power=2, key=jr.key(0))
    flow = gflow.GradientFlow(gflow.Square(), x, y)
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_t=1.0), rtol=1e-9, progress=False
    )

    def descended(steps):
        method = gflow.descent.GradientDescent(step=np.e / steps)
        point = gflow.descent.descend(flow, network, method=method, gradients=steps + 1)
        return np.asarray(jax.tree.leaves(point.direction)[0][-1]) * np.exp(
            point.log_radius[-1]
        )

    # Euler's method is of order one: extrapolated, of order two.
    fine = 2 * descended(8000) - descended(4000)
    found = np.asarray(curve.network.weights[0][-1])
    np.testing.assert_allclose(found, fine, rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones((3, 2)), r"maps it to shape \(\)"),
        (np.ones(2), r"as many samples, but have 3 and 2"),
    ],
)
def test_targets_of_the_wrong_shape(y, message):
    with pytest.raises(ValueError, match=message):
        gflow.solve(
            gflow.GradientFlow(gflow.Square(), np.eye(3), y),
            gflow.nn.DeepLinear(3, (2,), key=jr.key(0)),
            until=gflow.Until(log_t=1.0),
            progress=False,
        )
