"""Where flows end that slide along kinks, and what is not known of units at zero."""

import copy
import functools

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import Until
from scipy.optimize import nnls


class Plain(eqx.Module):
    """Two layers of ReLUs as a user writes them."""

    inner: jax.Array
    outer: jax.Array

    def __call__(self, x):
        return self.outer @ jax.nn.relu(self.inner @ x)


def points():
    """20 points in 10 dimensions, of two classes, and ten units."""
    random = np.random.default_rng(0)
    x = random.normal(size=(20, 10))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    teacher = random.normal(size=10)
    y = np.sign(x @ teacher)
    x = x + 0.2 * y[:, None] * teacher / np.linalg.norm(teacher)
    inner = random.normal(size=(10, 10)) / np.sqrt(10)
    return x, y, inner, random.normal(size=10) / np.sqrt(10)


@functools.cache
def slid(scale=1.0):
    """The limit of ten ReLUs on inputs times `scale`, on about twelve kinks."""
    x, y, inner, outer = points()
    network = Plain(jnp.asarray(inner), jnp.asarray(outer))
    network = jax.tree.map(lambda leaf: leaf / scale**0.5, network)
    flow = gflow.GradientFlow(gflow.Logistic(), scale * x, y)
    until = Until(log_margin_scale=100.0)
    run = gflow.solve(flow, network, until=until, rtol=1e-6, progress=False)
    return flow, run, gflow.limit(run)


@pytest.mark.slow
def test_the_margin_is_that_at_the_end_of_the_curve():
    flow, run, limit = slid()
    end = jax.tree.map(lambda leaf: leaf[-1], run.direction)
    assert (
        abs(gflow.margins.normalized(gflow.point(flow, end)) / limit.margin - 1) < 1e-6
    )
    assert (
        abs(
            gflow.margins.normalized(gflow.point(flow, limit.direction)) / limit.margin
            - 1
        )
        < 1e-14
    )
    # Some units fall behind like r^-0.11: the direction is further off.
    assert limit.distance < 1e-2


def test_generalized_gradients_by_hand_meet_the_conditions():
    _, _, limit = slid()
    x, y, _, _ = points()
    inner, outer = map(np.asarray, (limit.direction.inner, limit.direction.outer))
    u = x @ inner.T
    gates = (u > 0).astype(float)
    assert 8 <= len(limit.certificate.slides) <= 16
    assert np.all((limit.certificate.gates > 0) & (limit.certificate.gates < 1))
    assert np.max(np.abs(u.ravel()[limit.certificate.slides])) < 1e-14
    gates.ravel()[limit.certificate.slides] = limit.certificate.gates
    rows = (gates * outer)[:, :, None] * x[:, None, :]
    gradients = y[:, None] * np.hstack([rows.reshape(20, -1), gates * u])
    theta = np.concatenate([inner.ravel(), outer])
    active = limit.certificate.active
    pulls, residual = nnls(gradients[active].T, theta)
    assert residual < 1e-12
    assert limit.certificate.stationarity < 1e-12
    unit = limit.certificate.multipliers[active] / np.sum(limit.certificate.multipliers)
    assert np.max(np.abs(pulls / np.sum(pulls) - unit)) < 1e-10
    # Gates of one side alone do not: the kinks matter.
    gates.ravel()[limit.certificate.slides] = 0.0
    rows = (gates * outer)[:, :, None] * x[:, None, :]
    gradients = y[:, None] * np.hstack([rows.reshape(20, -1), gates * u])
    assert nnls(gradients[active].T, theta)[1] > 1e-2


def test_units_that_fell_behind_are_counted():
    _, _, limit = slid()
    sizes = np.linalg.norm(limit.direction.inner, axis=1)
    behind = int(np.sum(sizes < 1e-9))
    assert behind > 0
    assert limit.verdict == "first order only"
    assert f"{behind} units are zero" in str(limit)


def test_units_of_inputs_do_not_matter():
    _, _, limit = slid()
    flow, run, other = slid(1e-4)
    assert other.verdict == limit.verdict
    end = jax.tree.map(lambda leaf: leaf[-1], run.direction)
    assert (
        abs(gflow.margins.normalized(gflow.point(flow, end)) / other.margin - 1) < 1e-6
    )
    assert abs(other.margin / (1e-4 * limit.margin) - 1) < 1e-9
    assert other.certificate.infeasibility < 1e-12


def at_other_gates(run, numbers, on):
    """A trajectory that claims to slide along other kinks, with other gates."""

    def parts(run):
        return run.field.gates.slides, run.field.gates.on

    slides, gates = map(np.array, parts(run))
    return eqx.tree_at(
        parts, run, tuple(map(jnp.asarray, (numbers(slides), on(gates))))
    )


def test_a_kink_that_is_not_held_ends_on_the_wrong_side():
    _, run, limit = slid()
    big = np.linalg.norm(limit.direction.inner, axis=1) > 0.4
    kink = next(k for k in limit.certificate.slides if big[k % 10])
    other = at_other_gates(
        run, lambda slides: np.where(slides == kink, -1, slides), lambda on: on
    )
    free = gflow.limit(other)
    assert free.verdict == "not yet"
    assert "on the wrong side" in str(free)


def held_too(run, limit, samples):
    """The curve, as if it were held on one more kink: of these samples the nearest."""
    inner = np.asarray(limit.direction.inner)
    u = np.abs(points()[0] @ inner.T)
    u[:, np.linalg.norm(inner, axis=1) < 0.4] = np.inf
    u[np.setdiff1d(np.arange(20), samples)] = np.inf
    u.ravel()[limit.certificate.slides] = np.inf
    kink = int(np.argmin(u))

    def add(slides):
        slides.ravel()[np.argmin(slides)] = kink
        return slides

    def turn(on):
        on.ravel()[kink] = False
        return on

    return kink, at_other_gates(run, add, turn)


def test_a_kink_too_many_has_a_multiplier_outside():
    _, run, limit = slid()
    kink, other = held_too(run, limit, limit.certificate.active)
    held = gflow.limit(other, reach=0.5)
    assert held.verdict == "not yet"
    assert "lie outside of [0, 1] there" in str(held)
    share = held.certificate.gates[list(held.certificate.slides).index(kink)]
    assert share < 0 or share > 1


def test_kinks_of_samples_without_a_multiplier_hold_nothing():
    _, run, limit = slid()
    kink, other = held_too(
        run, limit, np.setdiff1d(np.arange(20), limit.certificate.active)
    )
    free = gflow.limit(other)
    assert kink not in free.certificate.slides
    assert abs(free.margin / limit.margin - 1) < 1e-12
    assert free.verdict == limit.verdict


def test_kinks_behind_kinks_are_not_certified():
    _, run, limit = slid()
    field = copy.copy(run.field)
    object.__setattr__(field, "straight", False)  # as of a deeper network
    deep = gflow.limit(eqx.tree_at(lambda run: run.field, run, field))
    assert deep.verdict == "not shown"
    assert f"slides along {len(limit.certificate.slides)} kinks" in str(deep)
    assert abs(deep.margin / limit.margin - 1) < 1e-6


def test_the_part_of_a_curve_has_the_gates_of_its_end():
    _, run, _ = slid()
    margins = run.map(gflow.margins.normalized)
    first = int(np.argmax(margins > 0))
    part = gflow.limit(run.at(tau=run.tau[first : first + 1]))
    assert part.verdict == "not shown"
    assert "The gates of the curve are those of its last step" in str(part)


def followed(x, y, inner, outer):
    """The limit of three ReLUs on three points."""
    flow = gflow.GradientFlow(gflow.Exponential(), np.asarray(x), np.asarray(y))
    network = Plain(jnp.asarray(inner), jnp.asarray(outer))
    until = Until(log_margin_scale=100.0)
    run = gflow.solve(flow, network, until=until, progress=False)
    return flow, gflow.limit(run)


def test_units_held_on_the_kinks_of_each_other_are_a_local_maximum():
    """The unit of one point is off, but for its gate, on that of the other class."""
    angle = np.deg2rad(50.0)
    x = [[1.0, 0.0, 0.0], [np.cos(angle), np.sin(angle), 0.0], [-1.0, -1.0, 1.0]]
    inner = [[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-1.0, -1.0, 1.0]]
    _, limit = followed(x, [1.0, -1.0, -1.0], inner, [1.0, -1.0, -1.0])
    assert limit.verdict == "local maximum"
    assert "It lies on 2 kinks" in str(limit)
    # Orthogonal to the other point, so of length sin(angle) on its own.
    lengths = np.array([np.sin(angle), np.sin(angle), np.sqrt(3)])
    assert abs(limit.margin * 2 * np.sum(1 / lengths) - 1) < 1e-12
    # x1 - s x2 is orthogonal to x2.
    assert sorted(limit.certificate.slides) == [1, 3]
    assert np.max(np.abs(limit.certificate.gates - np.cos(angle))) < 1e-12
    assert limit.stability.unstable == 0
    assert limit.certificate.stationarity < 1e-13


off = {"zero": (0.0, 0.0, 0.0), "off": (0.1, -1.0, -2.0)}


@pytest.mark.parametrize("second", off.values(), ids=off.keys())
def test_a_unit_that_is_off_forbids_a_local_maximum(second):
    """One unit serves both points (1, 0.3) and (-1, 0.3), one is off, one is apart."""
    x = np.array([[1.0, 0.3, 0.0], [-1.0, 0.3, 0.0], [0.0, -1.0, 1.0]])
    inner = [(0.0, 1.0, 0.0), second, (0.0, -1.0, 1.0)]
    outer = [1.0, 0.5 if second[1] else 0.0, -1.0]
    flow, limit = followed(x, [1.0, 1.0, -1.0], inner, outer)
    # Weights of norm 1/2 in each layer to a margin of 1 / (2 lengths).
    assert abs(limit.margin * 2 * (1 / 0.3 + 1 / np.sqrt(2)) - 1) < 1e-12
    assert limit.certificate.stationarity < 1e-12
    assert limit.verdict == "first order only"
    assert "1 unit is zero or at a kink" in str(limit)
    assert np.isnan(limit.stability.log_log_t_escape)
    # With a unit for each point the margin is larger.
    length = np.linalg.norm(x, axis=1)
    units = np.sqrt(1 / length)
    better = Plain(
        jnp.asarray(x * (units / length)[:, None]), jnp.asarray(flow.y * units)
    )
    assert gflow.margins.normalized(gflow.point(flow, better)) > 1.5 * limit.margin
