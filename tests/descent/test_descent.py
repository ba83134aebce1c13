import itertools
import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import mpmath
import numpy as np
import optax
import pytest
from gflow import Exponential
from gflow.descent import GradientDescent, LossScaledDescent, descend
from jaxtyping import Array

from benchmarks.optimizer import Optimizer


EVERY = 2000  # so many samples that none of the first counts is left out
START = 0.25


def one_weight():
    """f(x) = w x on x = y = -1, +1: both margins are w, and the loss is exp(-w)."""
    x = np.array([[1.0], [-1.0]])
    flow = gflow.GradientFlow(Exponential(), x, x[:, 0])
    network = gflow.nn.DeepLinear.from_weights([np.array([START])])
    return flow, network


def vectors(curve):
    """The weights of each sample."""
    leaves = jax.tree.leaves(eqx.filter(curve.direction, eqx.is_inexact_array))
    flat = [np.asarray(leaf).reshape(len(leaf), -1) for leaf in leaves]
    radius = np.exp(np.asarray(curve.log_radius))[:, None]
    return radius * np.concatenate(flat, axis=1)


def test_fixed_steps_are_those_made_by_hand():
    step, count = 0.3, 100
    w = [START]
    for _ in range(count):
        w.append(w[-1] + step * math.exp(-w[-1]))
    curve = descend(
        *one_weight(), method=GradientDescent(step), gradients=count, samples=EVERY
    )
    assert np.array_equal(curve.gradients, np.arange(count + 1))
    assert np.allclose(np.exp(curve.log_radius), w, rtol=1e-13)
    assert np.allclose(curve.log_loss, -np.array(w), rtol=1e-13)
    assert np.allclose(curve.log_t[1:], np.log(step * np.arange(1, count + 1)))
    assert curve.log_t[0] == -np.inf
    assert curve.stats["steps"] == curve.stats["gradients"] == count
    assert curve.stats["rejected"] == 0


def test_loss_scaled_steps_are_a_geometric_series_on_one_weight():
    # grad log L = -1, so the weight grows by a each time, and a by 2^(1/5).
    count = 120
    k = np.arange(count + 1)
    w = START + 0.1 * (2 ** (k / 5) - 1) / (2 ** (1 / 5) - 1)
    log_steps = np.log(0.1 * 2 ** (k[:-1] / 5)) + w[:-1]
    curve = descend(
        *one_weight(), method=LossScaledDescent(), gradients=count, samples=EVERY
    )
    assert np.allclose(curve.log_loss, -w, rtol=1e-12)
    assert np.allclose(curve.log_t[1:], np.logaddexp.accumulate(log_steps), rtol=1e-12)
    assert curve.log_loss[-1] < -1e7


def test_loss_scaled_steps_restore_what_did_not_help_and_follow_the_rule():
    flow, network = gflow.problems.relu2()
    curve = descend(
        flow, network, method=LossScaledDescent(), gradients=100, samples=EVERY
    )
    log_t, log_loss = np.asarray(curve.log_t), np.asarray(curve.log_loss)
    kept = np.diff(log_loss) < 0
    assert 10 < np.sum(~kept) == curve.stats["rejected"] < 90
    assert curve.stats["steps"] == np.sum(kept)
    w = vectors(curve)
    for values in (log_t, log_loss, w):
        assert np.array_equal(values[1:][~kept], values[:-1][~kept])
    # The factor a of each kept step, from the time that it took.
    log_rate = np.log(0.1)
    for i, helped in enumerate(kept):
        if helped:
            log_step = log_t[i + 1] + np.log(-np.expm1(log_t[i] - log_t[i + 1]))
            assert log_step + log_loss[i] == pytest.approx(log_rate, abs=1e-9)
        log_rate += np.log(2) / 5 if helped else -np.log(2) / 10


def test_loss_scaled_descent_goes_far_below_what_floats_hold():
    flow, network = gflow.problems.relu2()
    curve = descend(flow, network, method=LossScaledDescent(), gradients=20_000)
    log_loss = np.asarray(curve.log_loss)
    assert np.all(np.diff(log_loss) <= 0)
    assert log_loss[-1] < -800 * math.log(10)
    assert np.isfinite(curve.log_t[1:]).all()
    # The loss again, in 50 digits, at the first sample below 1e-800.
    k = int(np.argmax(log_loss < -800 * math.log(10)))
    one = jax.tree.map(lambda leaf: leaf[k], curve.direction)
    margins = np.asarray(flow.margins(one)) * math.exp(3 * curve.log_radius[k])
    with mpmath.workdps(50):
        # For margins beyond 100, log(1 + e^-z) is e^-z to 40 digits.
        assert margins.min() > 100
        total = mpmath.fsum(mpmath.exp(-mpmath.mpf(float(z))) for z in margins)
        exact = float(mpmath.log(total / len(margins)))
    assert log_loss[k] == pytest.approx(exact, rel=1e-12)


def test_small_steps_follow_the_flow_and_their_error_is_of_first_order():
    flow, network = gflow.problems.relu2()
    end = 8.0
    exact = vectors(
        gflow.solve(
            flow,
            network,
            until=gflow.Until(log_t=math.log(end)),
            rtol=1e-10,
            progress=False,
        )
    )[-1]
    ends = []
    for count in (512, 1024, 2048):
        curve = descend(
            flow, network, method=GradientDescent(end / count), gradients=count
        )
        assert curve.log_t[-1] == pytest.approx(math.log(end), rel=1e-12)
        ends.append(vectors(curve)[-1])
    errors = [np.linalg.norm(w - exact) for w in ends]
    assert errors[-1] < 1e-2 * np.linalg.norm(exact)
    ratios = [a / b for a, b in itertools.pairwise(errors)]
    assert ratios == pytest.approx([2, 2], rel=0.05)
    # Extrapolated to steps of length zero, the error is of second order.
    extrapolated = [
        np.linalg.norm(2 * b - a - exact) for a, b in itertools.pairwise(ends)
    ]
    assert extrapolated[0] / extrapolated[1] == pytest.approx(4, rel=0.15)


def test_a_descent_that_diverges_says_so_and_stops():
    flow, network = gflow.problems.relu2()
    curve = descend(flow, network, method=GradientDescent(1e200), gradients=1000)
    finite = np.isfinite(curve.log_loss)
    assert not finite[-1]
    assert finite[:-1].all()
    assert curve.stats["gradients"] == curve.gradients[-1] < 1000


class Permuted(eqx.Module):
    """A network with biases, and with an array that is no weight."""

    inner: eqx.nn.MLP
    order: Array

    def __call__(self, x):
        return self.inner(x[self.order])


def test_any_network_descends_and_is_mapped():
    flow, _ = gflow.problems.relu2()
    inner = eqx.nn.MLP(10, "scalar", 8, 1, key=jr.key(0))
    network = Permuted(inner, jnp.arange(10)[::-1])
    curve = descend(flow, network, method=GradientDescent(0.05), gradients=50)
    assert np.all(np.diff(curve.log_loss) < 0)
    last = curve[-1].network
    margins = curve.margins
    assert np.allclose(margins[-1], flow.margins(last), rtol=1e-13)
    assert np.array_equal(last.order, network.order)


def test_an_optimizer_of_optax_is_a_method():
    flow, network = gflow.problems.relu2()
    step = 0.1
    plain = descend(flow, network, method=GradientDescent(step), gradients=200)
    optimizer = Optimizer(optax.sgd(step))
    again = descend(flow, network, method=optimizer, gradients=200)
    assert np.allclose(vectors(plain), vectors(again), rtol=1e-12, atol=1e-14)
    adam = Optimizer(optax.adam(0.01), of_log=True)
    curve = descend(flow, network, method=adam, gradients=200)
    assert curve.log_loss[-1] < plain.log_loss[0]


def descend_with(**changed):
    flow, network = one_weight()
    arguments = {"method": GradientDescent(1.0), "gradients": 10} | changed
    return descend(arguments.pop("flow", flow), network, **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GradientDescent(0.0), "`step` must be a positive number, but is 0.0"),
        (lambda: GradientDescent(math.inf), "`step` must be .* but is inf"),
        (lambda: GradientDescent(math.nan), "`step` must be .* but is nan"),
        (lambda: LossScaledDescent(rate=-1.0), "`rate` must be .* but is -1.0"),
        (lambda: LossScaledDescent(growth=0.5), "`growth` must be at least 1"),
        (lambda: LossScaledDescent(shrinkage=1), "`shrinkage` must be greater than 1"),
        (lambda: descend_with(flow=None), "`flow` must be a `gflow.GradientFlow`"),
        (lambda: descend_with(method=GradientDescent), "Call it to make an instance"),
        (lambda: descend_with(gradients=0), "`gradients` must be at least 1"),
        (lambda: descend_with(gradients=1e3), "`gradients` must be an integer"),
        (lambda: descend_with(samples=0), "`samples` must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
