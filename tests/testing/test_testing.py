"""Each check passes on what is right, and says what is wrong with what is not."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from curves import curve
from gflow import testing
from gflow.clocks import ArcLength, LogTime, Loss, Polar, Time


LOSSES = (
    *(gflow.Exponential(), gflow.Logistic(), gflow.CrossEntropy(), gflow.Square()),
    *(gflow.ExponentialTail(beta) for beta in (0.5, 1.0, 3.0)),
)


def broken(law, found=""):
    return pytest.raises(AssertionError, match=f"(?s){law}.*{found}")


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_losses_of_gflow_pass(loss):
    testing.check_loss(loss)


class Bad(gflow.AbstractMarginLoss):
    """The exponential loss, but for what it is given."""

    changed: dict = eqx.field(static=True)
    labels: ClassVar = ("signs",)

    @property
    def tail(self):
        return self.changed.get("tail", 1.0)

    def log_loss(self, margin):
        return self.changed.get("log_loss", jnp.negative)(margin)

    def log_weight(self, margin):
        return self.changed.get("log_weight", jnp.negative)(margin)

    def weight_decay(self, margin):
        return self.changed.get("weight_decay", jnp.ones_like)(margin)

    def margin_of(self, log_loss):
        return self.changed.get("margin_of", jnp.negative)(log_loss)


BAD_LOSSES = {
    r"`Bad.tail` must be a positive number, but is -1": {"tail": -1.0},
    r"`Bad.tail` must be the power .* is 2 where .* power 1\.": {"tail": 2.0},
    r"`Bad.log_losses` must be finite .* is -inf": {
        "log_loss": lambda z: jnp.where(z > 1e9, -jnp.inf, -z)
    },
    r"`Bad.log_weights` must be log g .* -1.0001": {"log_weight": lambda z: 1e-4 - z},
    r"`Bad.weight_slopes` must be minus the slopes .* 1.001 where 1": {
        "weight_decay": lambda z: jnp.full_like(z, 1.001)
    },
    r"`Bad.margin_of` must be the inverse": {"margin_of": lambda u: 1e-8 - u},
    r"`Bad.log_losses` must treat each sample alone": {
        "log_loss": lambda z: -z - jnp.mean(z)
    },
}


@pytest.mark.parametrize("law", BAD_LOSSES)
def test_a_broken_loss_is_told_what_is_wrong(law):
    with broken(law):
        testing.check_loss(Bad(BAD_LOSSES[law]))


def test_the_plain_bad_loss_is_a_good_one():
    testing.check_loss(Bad({}))


class Huber(gflow.AbstractLoss):
    """No half of a square: its flow would not be followed."""

    labels: ClassVar = ("targets",)

    @property
    def tail(self):
        return 1.0

    def log_losses(self, margins):
        return jnp.log(jnp.sum(jnp.sqrt(1 + margins**2) - 1, axis=-1))

    def log_weights(self, margins):
        return jnp.log(jnp.abs(margins)) - jnp.log1p(margins**2) / 2

    def weight_slopes(self, margins):
        return (1 + margins**2) ** -1.5, None

    def margin_of(self, log_loss):
        return jnp.sqrt((1 + jnp.exp(log_loss)) ** 2 - 1)


def test_a_loss_of_targets_must_be_the_square():
    with broken(r"`Huber.log_losses` must be that of \|e\|\^2 / 2"):
        testing.check_loss(Huber())
    with pytest.raises(ValueError, match=r"`loss` must be `gflow.Square\(\)`.*`Huber`"):
        gflow.GradientFlow(Huber(), np.ones((2, 1)), np.array([0.5, 2.0]))


@pytest.mark.parametrize(
    "clock", [Polar(), Loss(), ArcLength(), LogTime(), Time()], ids=repr
)
def test_clocks_of_gflow_pass(clock):
    testing.check_clock(clock)


class BadRate(gflow.clocks.AbstractRateClock):
    fn: Callable = eqx.field(static=True)

    def log_rate(self, speeds):
        return self.fn(speeds)


class BadTime(gflow.clocks.AbstractTimeClock):
    power: float = 1.0
    off: float = 0.0
    start: float = 0.0

    def tau_of(self, log_t):
        return log_t.__array_namespace__().exp(self.power * log_t) + self.start

    def log_t_at(self, tau):
        with np.errstate(divide="ignore"):
            return np.log(tau - self.start) + self.off


class Stops(gflow.clocks.AbstractTimeClock):
    def tau_of(self, log_t):
        xp = log_t.__array_namespace__()
        return xp.exp(xp.where(log_t > 3, 3.0, log_t))

    def log_t_at(self, tau):
        return np.log(tau)


BAD_CLOCKS = {
    r"`BadRate.log_rate` must be a finite .* is nan at": BadRate(
        lambda s: jnp.log(-s.log_loss)
    ),
    r"`BadRate.log_rate` must be smooth .* jumps, .* log slope -3": BadRate(
        lambda s: jnp.maximum(s.log_slope, -3.0)
    ),
    r"`BadRate.log_rate` must be smooth .* jumps, .* log radius -3": BadRate(
        lambda s: jnp.where(s.log_radius > -3, 1.0, 0.0)
    ),
    r"must be the inverse of `tau_of`.*off by 1e-09": BadTime(off=1e-9),
    r"must be the inverse of `tau_of`": BadTime(power=1.01),
    r"must increase with `log_t`, but does not": Stops(),
    r"must start at 0, .* is 1 there": BadTime(start=1.0),
}


@pytest.mark.parametrize("law", BAD_CLOCKS)
def test_a_broken_clock_is_told_what_is_wrong(law):
    with broken(law):
        testing.check_clock(BAD_CLOCKS[law])


class Two(eqx.Module):
    """Two layers with an activation."""

    first: jax.Array
    last: jax.Array
    activation: Callable = eqx.field(static=True)

    def __call__(self, x):
        return self.last @ self.activation(self.first @ x)


class Claims(gflow.nn.AbstractHomogeneous):
    """A linear model that takes itself for a quadratic one."""

    w: jax.Array

    @property
    def degree(self):
        return 2.0

    def __call__(self, x):
        return self.w @ x

    def units(self):
        return ((None,),)


def two(activation):
    first, last = jr.split(jr.key(0))
    return Two(jr.normal(first, (4, 3)), jr.normal(last, (4,)), activation)


halved = jax.custom_jvp(jnp.square)
halved.defjvp(lambda u, v: (u[0] ** 2, 1.99 * u[0] * v[0]))

X = np.random.default_rng(0).normal(size=(5, 3))
NETWORKS = {
    "relu": lambda: two(jax.nn.relu),
    "soft": lambda: two(jax.nn.softplus),
    "squares from 1e-100": lambda: jax.tree.map(
        lambda w: 1e-100 * w, gflow.nn.MLP(3, (4,), power=2, key=jr.key(0))
    ),
    "power 1.01": lambda: gflow.nn.MLP(3, (4,), power=1.01, leak=0.1, key=jr.key(0)),
    "logits": lambda: gflow.nn.DeepLinear(3, (4,), 3, key=jr.key(0)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_pass(name):
    testing.check_network(NETWORKS[name](), X)


BAD_NETWORKS = {
    r"homogeneous in its weights, .* of degree L = 3, but at c =": (
        lambda: two(jnp.abs),
        {"degree": 3.0},
    ),
    r"homogeneous in its weights, .* of degree L = 2, but": (
        lambda: Claims(jnp.ones(3)),
        {},
    ),
    r"no kinks but those that gflow sees .* jumps by": (
        lambda: two(lambda u: jnp.sqrt(u * u)),
        {},
    ),
    r"derivative of `network` by JAX must be that of differences": (
        lambda: two(halved),
        {"degree": None},
    ),
    r"finite outputs, but is nan on sample 0": (
        lambda: two(lambda u: jnp.log(-jnp.abs(u))),
        {},
    ),
    r"kinks that gflow can read": (lambda: two(lambda u: u * jnp.sign(u - 1)), {}),
    r"scalar or to two or more logits .* float64\[1\]": (
        lambda: two(lambda u: u[:, None]),
        {},
    ),
}


@pytest.mark.parametrize("law", BAD_NETWORKS)
def test_a_broken_network_is_told_what_is_wrong(law):
    make, options = BAD_NETWORKS[law]
    with broken(law):
        testing.check_network(make(), X, **options)


def test_curves_pass():
    # So do those of test_laws, test_slid_flow, test_exact_kinks and test_square.
    run = curve("relu2, exponential")
    testing.check_trajectory(run)
    testing.check_trajectory(run[10:])
    testing.check_trajectory(run.refined(2))


def test_a_curve_of_regression_passes():
    flow = gflow.GradientFlow(gflow.Square(), X, X[:, 0] ** 2)
    network = gflow.nn.DeepLinear(3, (4,), key=jr.key(0))
    run = gflow.solve(flow, network, until=gflow.Until(log_t=9.0), progress=False)
    testing.check_trajectory(run)
    with broken("minus the errors, under the square loss"):
        testing.check_trajectory(changed(run, "weights", 5, 1.001))
    with broken("must be what its clock says"):
        testing.check_trajectory(changed(run, "log_t", 9, 1.0001))


def changed(run, name, at, factor):
    """A curve with one entry of a field multiplied."""
    values = np.array(getattr(run, name))
    values[at] *= factor
    return dataclasses.replace(run, **{name: values})


def ending(run, direction, log_radius):
    """The early part of a curve with another end, which agrees with itself."""
    part = run[: early(run)]
    there = run[direction].direction
    network = jax.tree.map(lambda leaf: jnp.exp(log_radius) * leaf, there)
    end = gflow.point(run.flow, network)
    replaced = {"direction": jax.tree.map(lambda a, b: a.at[-1].set(b),
                                          part.direction, there)}  # fmt: skip
    for name in ("log_radius", "log_loss", "weights"):
        values = np.array(getattr(part, name))
        values[-1] = np.asarray(getattr(end, name))
        replaced[name] = values
    return dataclasses.replace(part, **replaced)


def early(run):
    """How many samples come before R = 100."""
    return int(np.argmax(run.degree * run.log_radius > np.log(3e3)))


def tampered(run):
    """Each law, and a curve that breaks it."""
    shift = np.where(np.isfinite(run.log_t), np.asarray(run.log_t) + 1e-3, -np.inf)
    q = np.array(run.weights)
    q[9] = q[9][::-1]
    late, near, radius = len(run) - 2, early(run) - 1, np.asarray(run.log_radius)
    return {
        "`curve.tau` must increase": changed(run, "tau", 7, 1.5),
        "`curve.log_t` must not fall": changed(run, "log_t", near, 0.5),
        "Late, `curve.log_t` must be minus the log loss": changed(
            run, "log_t", late, 0.9
        ),
        "must have norm one": eqx.tree_at(
            lambda c: c.direction,
            run,
            jax.tree.map(lambda leaf: leaf * (1 + 1e-9), run.direction),
        ),
        "`curve.weights` must sum to one": changed(run, "weights", 5, 1.001),
        "`curve.weights` must not be negative": changed(run, "weights", 5, -1.0),
        "must be those of the margins": dataclasses.replace(run, weights=q),
        "`curve.log_loss` must be that": changed(run, "log_loss", late, 1.001),
        "loss must not rise": ending(run, near, radius[near] - 0.1),
        # Where the margin was smaller, but farther out; and the reverse.
        "smoothed margin must not fall": ending(run, near - 25, radius[near] + 0.5),
        "radius must not fall": ending(run, near + 25, radius[near - 1] - 1e-3),
        "Time must run": dataclasses.replace(run, log_t=shift),
        "weights must move by the integral": dataclasses.replace(
            run, tau=np.asarray(run.tau) * 1.001
        ),
    }


@pytest.mark.parametrize("law", range(13))
def test_a_curve_that_was_tampered_with_is_told_what_is_wrong(law):
    law, run = list(tampered(curve("relu2, exponential")).items())[law]
    with broken(law):
        testing.check_trajectory(run)


NOT_MADE: list[Any] = [gflow.Logistic, LogTime, None]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: testing.check_loss(NOT_MADE[0]), "`loss` must be a .* instance"),
        (lambda: testing.check_clock(NOT_MADE[1]), "`clock` must be a .* instance"),
        (lambda: testing.check_network(two(jnp.abs), X[0]), "`x` must have shape"),
        (lambda: testing.check_network(3, X), "`network` must be callable"),
        (lambda: testing.check_trajectory(NOT_MADE[2]), "`curve` must be what"),
    ],
)
def test_what_cannot_be_checked_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
