"""Many classes, and losses with other tails: laws, and independent computations."""

import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath as mp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import example, given, strategies as st
from tiers import but_slow


LOGITS = st.lists(st.floats(-300.0, 300.0), min_size=2, max_size=6)
TAILS = (0.5, 1.0, 2.0)


def three_classes(samples=15):
    """Three clouds around the corners of a triangle, scaled to norm about one."""
    random = np.random.default_rng(3)
    y = np.arange(samples) % 3
    corners = np.linalg.qr(random.normal(size=(5, 3)))[0].T
    return corners[y] + 0.25 * random.normal(size=(samples, 5)), y


@given(logits=LOGITS, label=st.integers(0, 5))
def test_cross_entropy_is_that_of_the_softmax(logits, label):
    label = label % len(logits)
    others = np.delete(logits, label)
    margins = jnp.asarray(logits[label] - others)
    with mp.workdps(400):
        terms = [mp.exp(mp.mpf(float(-z))) for z in np.asarray(margins)]
        loss = mp.log1p(mp.fsum(terms))
        pulls = [term / (1 + mp.fsum(terms)) for term in terms]
        log_loss, log_pulls = mp.log(loss), [mp.log(pull) for pull in pulls]
        slack = 1e-14 * (1 + abs(float(log_loss)))
        found = gflow.CrossEntropy().log_losses(margins)
        assert abs(float(found) - float(log_loss)) <= slack
        for a, b in zip(
            gflow.CrossEntropy().log_weights(margins), log_pulls, strict=True
        ):
            assert abs(float(a) - float(b)) <= 1e-13 * (1 + abs(float(b)))


# Ties up to rounding, where bounds on sums of exponentials are met.
@example(logits=[0.0, 0.0])
@example(logits=[0.0, 4e-257])
@given(logits=LOGITS)
def test_slopes_of_the_weights_are_their_derivatives(logits):
    margins = jnp.asarray(logits) / 10
    for loss in (gflow.CrossEntropy(), gflow.Exponential(), gflow.Logistic()):
        decay, shares = loss.weight_slopes(margins)
        expected = -jax.jacobian(loss.log_weights)(margins)
        found = jnp.diag(decay)
        if shares is not None:
            found = jnp.eye(len(logits)) - shares[None]
            np.testing.assert_allclose(jnp.diag(found), decay, atol=1e-13)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("beta", TAILS)
@given(z=st.floats(-50.0, 1e6))
def test_other_tails(beta, z):
    loss = gflow.ExponentialTail(beta)
    h = mp.mpf(z) ** beta if z > 1 else 1 + beta * (mp.mpf(z) - 1)
    slope = beta * (mp.mpf(z) ** (beta - 1) if z > 1 else 1)
    assert abs(float(loss.log_loss(jnp.asarray(z))) + h) <= 1e-14 * (1 + abs(h))
    weight = -h + mp.log(slope)
    found = float(loss.log_weight(jnp.asarray(z)))
    assert abs(found - weight) <= 1e-13 * (1 + abs(weight))
    decay = jax.grad(loss.log_weight)(jnp.asarray(z))
    np.testing.assert_allclose(loss.weight_decay(jnp.asarray(z)), -decay, rtol=1e-9)
    back = loss.margin_of(loss.log_loss(jnp.asarray(z)))
    assert abs(back - z) <= 1e-13 * (1 + abs(z)) / min(1.0, beta)


def test_a_tail_of_one_is_the_exponential_loss():
    z = jnp.linspace(-20, 20, 101)
    one, exponential = gflow.ExponentialTail(1.0), gflow.Exponential()
    np.testing.assert_allclose(one.log_loss(z), exponential.log_loss(z), atol=1e-14)
    np.testing.assert_allclose(one.log_weight(z), exponential.log_weight(z), atol=1e-14)


def test_two_classes_of_logits_are_signs():
    # Logits (f, 0) and labels 0, 1 say the same as one output and labels +1, -1.
    flow, network = gflow.problems.linear()
    weights = [
        *network.weights[:2],
        jnp.stack([network.weights[2], 0 * network.weights[2]]),
    ]
    pair = gflow.nn.DeepLinear.from_weights(weights)
    y = (1 - np.asarray(flow.y)) / 2
    two = gflow.GradientFlow(gflow.CrossEntropy(), flow.x, y)
    np.testing.assert_allclose(two.margins(pair), flow.margins(network), atol=1e-14)
    assert abs(two.log_loss(pair) - flow.log_loss(network)) <= 1e-14


@pytest.mark.parametrize("loss", [gflow.CrossEntropy(), gflow.Exponential()])
def test_a_linear_model_of_three_classes_ends_at_its_largest_margin(loss):
    x, y = three_classes()
    flow = gflow.GradientFlow(loss, x, y)
    network = gflow.nn.DeepLinear(5, (), 3, key=jr.key(0))
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_margin_scale=40.0), rtol=1e-8,
        progress=False,
    )  # fmt: skip
    margin = curve.map(gflow.margins.normalized)[-1]
    # The multiclass hard-margin problem by SciPy: its Gram matrix has one row a margin.
    rows = np.array(
        [
            np.concatenate(
                [x[i] * (float(c == y[i]) - float(c == k)) for c in range(3)]
            )
            for i in range(len(y))
            for k in range(3)
            if k != y[i]
        ]
    )
    # max_w min_i <row_i, w>, |w| = 1: the distance of the hull of the rows from zero.
    far = 1e6
    nonnegative, _ = scipy.optimize.nnls(
        np.vstack([rows.T, far * np.ones(len(rows))]), np.append(np.zeros(15), far)
    )
    best = np.linalg.norm(rows.T @ (nonnegative / nonnegative.sum()))
    assert abs(margin - best) <= 2e-9 * best


@pytest.mark.slow
@pytest.mark.parametrize("beta", TAILS)
def test_the_smoothed_margin_grows_whatever_the_tail(beta):
    base, network = gflow.problems.cubic()
    flow = gflow.GradientFlow(gflow.ExponentialTail(beta), base.x, base.y)
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_margin_scale=60.0), progress=False
    )
    smoothed = curve.map(gflow.margins.smoothed)
    grown = np.asarray(smoothed)[np.asarray(smoothed) > 0]
    assert grown.size > 20
    assert np.all(np.diff(grown) >= -1e-9 * grown[1:])
    # Past the cap on the scale the direction carries a bias of the tolerance.
    margin = curve.map(gflow.margins.normalized)[-1]
    other = gflow.solve(
        base, network, until=gflow.Until(log_margin_scale=60.0), progress=False
    )
    assert margin > 0
    assert other.result == curve.result == gflow.RESULTS.successful


@pytest.mark.parametrize(
    "name", but_slow(["cross-entropy", "exponential"], "exponential")
)
def test_cross_entropy_margins_grow_and_weights_add_up(name):
    loss = {"cross-entropy": gflow.CrossEntropy(), "exponential": gflow.Exponential()}
    x, y = three_classes()
    flow = gflow.GradientFlow(loss[name], x, y)
    network = gflow.nn.MLP(5, (6,), 3, power=2, key=jr.key(1))
    curve = gflow.solve(
        flow, network, until=gflow.Until(log_margin_scale=60.0), rtol=1e-7,
        progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(curve.weights.sum(axis=1), 1.0, rtol=1e-12)
    smoothed = np.asarray(curve.map(gflow.margins.smoothed))
    grown = smoothed[smoothed > 0]
    assert np.all(np.diff(grown) >= -1e-9 * grown[1:])
    residual = curve.map(gflow.kkt.turning)  # fmt: skip
    assert residual[-1] <= 1e-4
    early = np.asarray(curve.log_radius * curve.degree < np.log(1e6))
    weights = curve.map(lambda point: point.weights)
    np.testing.assert_allclose(weights[early], curve.weights[early], atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (
            gflow.CrossEntropy(),
            [1, -1, 1],
            r"integers 0, 1, .*holds -1 and \+1.*Logistic",
        ),
        (gflow.CrossEntropy(), [0, 2, 0], r"each class .* lacks \[1\].*numpy\.unique"),
        (
            gflow.CrossEntropy(),
            [0.5, 1, 0],
            r"must hold integers .*\[0, 0\.5, 1\].*Square",
        ),
        (gflow.CrossEntropy(), [0, 0, 0], r"two classes at least"),
        (gflow.Logistic(), [0, 1, 2], r"-1 and \+1 only .*\[0, 1, 2\].*CrossEntropy"),
        (gflow.Exponential(), [0, 1, 0], r"-1 and \+1, or three classes.*2 \* y - 1"),
        (gflow.Exponential(), [0, 1, 3], r"lacks \[2\]"),
        (gflow.Exponential(), [1, -1, 2], r"holds \[2\]"),
    ],
)
def test_labels_that_are_mixed_up(loss, y, message):
    with pytest.raises(ValueError, match=message):
        gflow.GradientFlow(loss, np.eye(3), y)


@pytest.mark.parametrize(
    ("loss", "y", "out", "message"),
    [
        (gflow.CrossEntropy(), [0, 1, 2], "scalar", r"3 logits, .* shape \(\)"),
        (gflow.CrossEntropy(), [0, 1, 0], 3, r"2 logits, .* shape \(3,\)"),
        (gflow.Logistic(), [1, -1, 1], 2, r"to a scalar, .*shape \(2,\).*CrossEntropy"),
    ],
)
def test_networks_whose_outputs_do_not_match_the_labels(loss, y, out, message):
    flow = gflow.GradientFlow(loss, np.eye(3), y)
    network = gflow.nn.DeepLinear(3, (4,), out, key=jr.key(0))
    with pytest.raises(ValueError, match=message):
        gflow.solve(flow, network, until=gflow.Until(log_t=1.0), progress=False)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.inf, np.nan, "2"])
def test_tails_that_are_none(beta):
    with pytest.raises(ValueError, match="`beta` must be a positive Python number"):
        gflow.ExponentialTail(beta)
