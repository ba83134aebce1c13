import math
from collections.abc import Callable
from typing import NamedTuple

import gflow
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from gflow._losses import AbstractMarginLoss
from hypothesis import assume, given, strategies as st


class Case(NamedTuple):
    """A loss and what is known of it, in exact arithmetic and for the sum of n terms.

    With `alpha` the margin that alone has the summed loss and `q` the weights relative
    to the weight at `alpha`, theory says where sum q, <q, z> - alpha and
    min z - alpha lie.
    """

    loss: AbstractMarginLoss
    exact: Callable[[mp.mpf], mp.mpf]  # l(z)
    exact_weight: Callable[[mp.mpf], mp.mpf]  # -l'(z)
    exact_inverse: Callable[[mp.mpf], mp.mpf]  # l^-1, of l itself
    weight_sum: float  # sum q is in [1, this] where alpha >= 0
    gap: Callable[[int], float]  # <q, z> - alpha is in [0, this]
    min_gap: Callable[[int], float]  # min z - alpha is in [0, this] where alpha >= 0


LOSSES = {
    "exponential": Case(
        gflow.Exponential(),
        lambda z: mp.exp(-z),
        lambda z: mp.exp(-z),
        lambda loss: -mp.log(loss),
        1.0,
        math.log,
        math.log,
    ),
    "logistic": Case(
        gflow.Logistic(),
        lambda z: mp.log1p(mp.exp(-z)),
        lambda z: mp.mpf(1) / (1 + mp.exp(z)),
        lambda loss: -mp.log(mp.expm1(loss)) if loss < 200 else -loss,
        2 * math.log(2),
        lambda n: 2 * math.log(n) + 1,
        lambda n: math.log(n) - math.log(math.log(2)),
    ),
}
each_loss = pytest.mark.parametrize("case", LOSSES.values(), ids=LOSSES.keys())

# Every branch, both sides of every seam, and the ends of the range.
SEAM = 37.0
MARGINS = np.concatenate(
    [
        -np.logspace(5, -10, 61),
        [0.0, -SEAM, SEAM, np.nextafter(SEAM, 0), np.nextafter(SEAM, 99)],
        np.linspace(-60, 60, 241),
        np.logspace(-10, 300, 156),
    ]
)
LOG_LOSSES = np.concatenate(
    [
        -np.logspace(300, -10, 156),
        [0.0, math.log(math.log(2)), math.log(SEAM)],
        np.nextafter(math.log(SEAM), [0, 99]),
        [-SEAM, np.nextafter(-SEAM, 0), np.nextafter(-SEAM, -99)],
        np.linspace(-60, 11.5, 144),
    ]
)
FINITE = np.concatenate([MARGINS, [-1.7e308, -1e300, -1e10, -5e-324, 5e-324, 1.7e308]])

exact_digits = mp.workdps(60)


def assert_close(got, exact, tol=1e-14):
    """Relative error below `tol` for large values, absolute for small."""
    for value, reference in zip(np.asarray(got), exact, strict=True):
        assert abs(mp.mpf(float(value)) - reference) <= tol * max(1, abs(reference))


def exactly(fn, points):
    return [fn(mp.mpf(float(point))) for point in points]


@each_loss
@exact_digits
def test_log_loss_is_the_logarithm_of_the_loss(case):
    exact = exactly(lambda z: mp.log(case.exact(z)), MARGINS)
    assert_close(case.loss.log_loss(jnp.asarray(MARGINS)), exact)


@each_loss
@exact_digits
def test_log_weight_is_the_logarithm_of_minus_the_slope(case):
    exact = exactly(lambda z: mp.log(case.exact_weight(z)), MARGINS)
    assert_close(case.loss.log_weight(jnp.asarray(MARGINS)), exact)


@each_loss
@exact_digits
def test_the_exact_weight_is_minus_the_slope_of_the_exact_loss(case):
    # The reference of the test above, by differences of sixty digits.
    for z in exactly(lambda z: z, np.linspace(-30, 30, 13)):
        slope, weight = mp.diff(case.exact, z), case.exact_weight(z)
        assert abs(slope + weight) <= mp.mpf("1e-20") * weight


@each_loss
@exact_digits
def test_weight_decay_is_minus_the_slope_of_log_weight(case):
    got = case.loss.weight_decay(jnp.asarray(MARGINS))
    slope = jax.vmap(jax.grad(case.loss.log_weight))(jnp.asarray(MARGINS))
    assert_close(got, exactly(lambda z: z, -slope))
    near = np.abs(MARGINS) <= 60

    def exact(z):
        return -mp.diff(lambda u: mp.log(case.exact_weight(u)), z)

    assert_close(got[near], exactly(exact, MARGINS[near]))
    assert jnp.all((got >= 0) & (got <= 1))
    assert jnp.all(got[MARGINS > SEAM] == 1)


@each_loss
@exact_digits
def test_the_slope_of_log_loss_is_weight_over_loss_also_at_the_seams(case):
    slope = jax.vmap(jax.grad(case.loss.log_loss))(jnp.asarray(MARGINS))
    exact = exactly(lambda z: -case.exact_weight(z) / case.exact(z), MARGINS)
    assert_close(slope, exact)


@each_loss
@exact_digits
def test_margin_of_inverts_the_loss(case):
    u = LOG_LOSSES
    exact = exactly(lambda u: case.exact_inverse(mp.exp(u)), u)
    assert_close(jax.vmap(case.loss.margin_of)(jnp.asarray(u)), exact)


@each_loss
def test_margin_of_inverts_log_loss_as_far_as_it_is_conditioned(case):
    z = jnp.asarray(MARGINS)
    u = case.loss.log_loss(z)
    slope = jax.vmap(jax.grad(case.loss.log_loss))(z)
    conditioned = jnp.abs(z) + jnp.maximum(jnp.abs(u), 1) / jnp.abs(slope)
    assert jnp.all(jnp.abs(case.loss.margin_of(u) - z) <= 1e-15 * conditioned)


@each_loss
def test_the_slope_of_margin_of_is_that_of_an_inverse(case):
    u = jnp.asarray(LOG_LOSSES)
    there = jax.vmap(jax.grad(case.loss.margin_of))(u)
    z = jax.vmap(case.loss.margin_of)(u)
    back = jax.vmap(jax.grad(case.loss.log_loss))(z)
    np.testing.assert_allclose(there * back, 1.0, rtol=1e-12)


@each_loss
@pytest.mark.parametrize("name", ["log_loss", "log_weight", "weight_decay"])
def test_every_finite_margin_has_finite_values_and_derivatives(case, name):
    fn = getattr(case.loss, name)
    for of in (fn, jax.grad(fn), jax.grad(jax.grad(fn))):
        assert jnp.all(jnp.isfinite(jax.jit(jax.vmap(of))(jnp.asarray(FINITE))))


@each_loss
def test_every_attainable_log_loss_has_a_finite_margin_and_slope(case):
    u = case.loss.log_loss(jnp.asarray(FINITE))
    for of in (case.loss.margin_of, jax.grad(case.loss.margin_of)):
        assert jnp.all(jnp.isfinite(jax.jit(jax.vmap(of))(u)))


@each_loss
@pytest.mark.parametrize("name", ["log_loss", "log_weight", "weight_decay"])
def test_each_entry_is_treated_alone_in_any_shape(case, name):
    fn = getattr(case.loss, name)
    z = jnp.linspace(-50.0, 50.0, 24).reshape(2, 3, 4)
    one_by_one = jnp.stack([fn(entry) for entry in z.ravel()]).reshape(z.shape)
    np.testing.assert_allclose(fn(z), one_by_one, rtol=1e-15)
    assert fn(jnp.asarray(3.0)).shape == ()


@jax.jit
def alpha_of(loss, z):
    return loss.margin_of(jax.nn.logsumexp(loss.log_loss(z)))


# Margins of the size that the flow has early and late, with any spread. They come
# padded with huge ones, whose terms vanish, so that one compilation serves all.
PADDED = 12


@st.composite
def margins(draw):
    size = draw(st.integers(1, PADDED))
    spread = draw(st.lists(st.floats(0, 60), min_size=size, max_size=size))
    offset = draw(st.sampled_from([-30.0, -1.0, 0.0, 1.0, 5.0, 1e3, 1e5]))
    return np.array(spread) + offset


def identities(loss, z):
    """`alpha`, q, <q, z> - alpha, and the rounding to expect of each.

    A margin is known to its own last bit, so `log q` to `1e-16 * max |z|`.
    """
    padded = np.concatenate([z, np.full(PADDED - z.size, 1e12)])
    alpha = alpha_of(loss, jnp.asarray(padded))
    q = np.exp(loss.log_weight(jnp.asarray(z)) - loss.log_weight(alpha))
    gap = q @ (z - alpha) + (q.sum() - 1) * alpha
    size = max(1.0, np.max(np.abs(z)))
    rounding = 2e-15 * z.size * size
    return float(alpha), q, float(gap), (rounding, rounding * size)


@each_loss
@given(z=margins())
def test_the_smoothed_margin_lies_below_the_smallest(case, z):
    # calL >= l(min z), and l decreases; the gap is bounded where the loss is small.
    alpha, _, _, (rounding, _) = identities(case.loss, z)
    assert alpha <= z.min() + rounding
    if alpha >= 0:
        assert z.min() - alpha <= case.min_gap(z.size) + rounding


@each_loss
@given(z=margins())
def test_the_weights_at_alpha_sum_to_one_or_a_little_more(case, z):
    alpha, q, _, (rounding, _) = identities(case.loss, z)
    assume(alpha >= 0)
    assert 1 - rounding <= q.sum() <= case.weight_sum + rounding


@each_loss
@given(z=margins())
def test_the_weighted_margin_exceeds_the_smoothed_by_a_logarithm_at_most(case, z):
    # B - alpha, which drives the smoothed normalized margin upward.
    alpha, _, gap, (_, rounding) = identities(case.loss, z)
    assume(alpha >= 0)
    assert -rounding <= gap <= case.gap(z.size) + rounding


@given(z=margins())
def test_the_gap_of_the_exponential_loss_is_the_entropy_of_the_weights(z):
    _, q, gap, (_, rounding) = identities(gflow.Exponential(), z)
    entropy = -np.sum(np.where(q > 0, q * np.log(np.where(q > 0, q, 1.0)), 0.0))
    assert abs(gap - entropy) <= rounding


@each_loss
@given(z=margins())
def test_the_slope_of_the_smoothed_margin_is_the_weights(case, z):
    # alpha moves by sum q_i dz_i.
    _, q, _, (rounding, _) = identities(case.loss, z)
    padded = np.concatenate([z, np.full(PADDED - z.size, 1e12)])
    slope = jax.grad(lambda z: alpha_of(case.loss, z))(jnp.asarray(padded))
    np.testing.assert_allclose(slope[: z.size], q, rtol=0, atol=rounding)


@each_loss
def test_the_smoothed_margin_is_positive_below_the_loss_at_zero(case):
    at_zero = case.loss.log_loss(jnp.zeros(()))
    assert abs(case.loss.margin_of(at_zero)) <= 1e-15
    assert case.loss.margin_of(at_zero - 1e-9) > 0 > case.loss.margin_of(at_zero + 1e-9)


def test_every_loss_is_in_the_table():
    losses = {type(case.loss) for case in LOSSES.values()}
    others = {gflow.ExponentialTail}  # see test_classes.py
    found = AbstractMarginLoss.__subclasses__()
    own = {loss for loss in found if loss.__module__.startswith("gflow")}
    assert own == losses | others
