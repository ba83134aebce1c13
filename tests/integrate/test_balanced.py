"""Samples that contradict each other hold weights, and hide what the others do."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow._integrate import _motion, _rest, _spectrum
from scipy.integrate import solve_ivp


class Row(eqx.Module):
    """A linear network, written as a matrix with one row."""

    w: jax.Array

    def __call__(self, x):
        return (self.w @ x)[0]


class Product(eqx.Module):
    """A product of two weights."""

    a: jax.Array
    b: jax.Array

    def __call__(self, x):
        return self.a[0] * self.b[0] * x[0]


def turned(angle):
    """Two samples that contradict each other, and one at right angles, rotated."""
    cos, sin = np.cos(angle), np.sin(angle)
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]) @ [[cos, sin], [-sin, cos]]
    return x, np.array([1.0, 1.0, -1.0])


def solved(loss, x, y, network, log_t, **options):
    flow = gflow.GradientFlow(loss, x, y)
    until = gflow.Until(log_t=log_t)
    return gflow.solve(flow, network, until=until, progress=False, **options)


@pytest.mark.parametrize("angle", [0.4, 1.1, 2.5])
@pytest.mark.parametrize("loss", [gflow.Logistic(), gflow.Exponential()])
def test_the_curve_ends_where_a_balance_hides_the_rest(angle, loss):
    r"""Beside the balance $\dot u = \ell(u) / 3$, in closed form: it is right."""
    x, y = turned(angle)
    start = np.array([[0.3, 0.5]])
    ends = []
    for rtol in (1e-4, 1e-6):
        curve = solved(loss, x, y, Row(jnp.asarray(start)), 1e3, rtol=rtol, throw=False)
        assert curve.result == gflow.RESULTS.balanced
        assert "move weights that the others do not hold" in curve.stats["verdict"]
        late = np.asarray(curve.log_t) > 10
        u = np.asarray(curve.network.w)[late, 0] @ x[0]
        first = float(start[0] @ x[0])
        # The integral of e^u is t / 3, or that of e^u + 1.
        more = first - u if isinstance(loss, gflow.Logistic) else 0.0
        third = np.exp(np.asarray(curve.log_t)[late]) / 3
        exact = np.log(third + np.exp(first) + more)
        assert np.max(np.abs(u / exact - 1)) < 30 * rtol
        ends.append(float(curve.log_t[-1]))
    assert 15 < ends[0] < ends[1]
    before = solved(loss, x, y, Row(jnp.asarray(start)), ends[1] - 3, rtol=1e-6)
    assert before.result == gflow.RESULTS.successful


@pytest.mark.parametrize(
    ("module", "name"),
    [(_motion, "STILL"), (_motion, "FAINT"), (_motion, "LIGHT"), (_rest, "CANCELED")],
)
def test_when_a_balance_is_seen_does_not_change_the_curve(module, name, monkeypatch):
    x, y = turned(0.7)

    def end():
        jax.clear_caches()  # what is compiled has the number of before
        curve = solved(
            gflow.Logistic(), x, y, Row(jnp.array([[0.3, 0.5]])), 1e3, throw=False
        )
        assert curve.result == gflow.RESULTS.balanced
        return curve

    usual = end()
    monkeypatch.setattr(module, name, 3 * getattr(module, name))
    varied = end()
    last = min(float(usual.log_t[-1]), float(varied.log_t[-1])) - 0.1
    a, b = (np.asarray(c.at(log_t=[last])[0].network.w) for c in (usual, varied))
    assert np.max(np.abs(a / b - 1)) < 1e-5


@pytest.mark.parametrize("far", [40.0, 4e3])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_sample_far_off_is_no_reason_to_doubt_a_critical_point(far, layers):
    random = np.random.default_rng(5)
    x = np.concatenate([random.normal(size=(12, 3)), [[far, 1.0, 1.0]]])
    y = np.append(np.sign(random.normal(size=12)), 1.0)
    network = Row(jnp.array([[0.3, 0.5, 0.1]]))
    if layers == 2:
        network = gflow.nn.MLP(3, (3,), leak=1.0, key=jax.random.key(1))
    curve = solved(gflow.Logistic(), x, y, network, 1e3, throw=False)
    assert curve.result == gflow.RESULTS.critical_point
    gradient = jax.grad(lambda net: jnp.exp(curve.flow.log_loss(net)))
    slope = eqx.filter(gradient(curve[-1].network), eqx.is_inexact_array)
    largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(slope))
    assert largest < 1e-11 * far


@pytest.mark.parametrize("size", [0.3, 0.5, 1.7])
@pytest.mark.parametrize("loss", [gflow.Square(), gflow.Logistic()])
@pytest.mark.parametrize("rtol", [1e-5, 1e-6, 1e-8])
def test_a_symmetric_start_is_followed_as_long_as_rounding_allows(size, loss, rtol):
    """It comes to a saddle, from which rounding would leave in time, and not before."""
    x, y = np.array([[1.0]]), np.array([-1.0])
    network = Product(jnp.array([size]), jnp.array([size]))
    curve = solved(loss, x, y, network, 1.2, rtol=rtol)

    def slope(_, w):
        square = isinstance(loss, gflow.Square)
        return -(1 + w * w) * w if square else -w / (1 + np.exp(-w * w))

    exact = solve_ivp(
        slope, (0, np.exp(1.2)), [size], method="LSODA", rtol=1e-11, atol=1e-14
    )
    end = curve[-1].network
    assert abs(float(end.a[0]) / exact.y[0, -1] - 1) < 20 * rtol
    assert float(end.a[0]) == float(end.b[0])
    late = solved(loss, x, y, network, 30.0, rtol=rtol, throw=False)
    assert late.result == gflow.RESULTS.unresolved
    # What rounding is of the weights grows at twice the rate at which these shrink.
    least = np.log(np.log(1e15 * rtol) / 2 / (1 + size**2))
    assert least < float(late.log_t[-1]) < np.log(2 * np.log(1e19))


def test_a_balance_is_found_again_by_resume(tmp_path):
    x, y = turned(0.7)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    network = Row(jnp.array([[0.3, 0.5]]))
    options = {"until": gflow.Until(log_t=1e3), "progress": False, "throw": False}
    path = tmp_path / "run"
    whole = gflow.solve(flow, network, checkpoint=path, **options)
    for log_t in (None, 2e3, 3e3):
        later = {} if log_t is None else {"until": gflow.Until(log_t=log_t)}
        again = gflow.resume(path, flow, network, progress=False, throw=False, **later)
        assert again.result == gflow.RESULTS.balanced
        assert np.array_equal(again.log_t, whole.log_t)
    save = gflow.SaveAt(observables=lambda point: point.log_radius)
    for more in ({"save": save}, {"memory": 2e3}):
        curve = gflow.solve(flow, network, **options, **more)
        seen = curve if "memory" in more else curve.observables
        assert np.all(np.diff(seen.log_t) > 0)
        assert seen.log_t[-1] == whole.log_t[-1]


class Factors(eqx.Module):
    """A linear network of two layers."""

    a: jax.Array
    b: jax.Array

    def __call__(self, x):
        return self.b @ (self.a @ x)


def not_found(*_):
    raise np.linalg.LinAlgError


@pytest.mark.parametrize("most", [50, 200])
@pytest.mark.parametrize("found", [True, False])
def test_modes_of_many_weights_are_looked_for_or_the_curve_says_so(
    most, found, monkeypatch, tmp_path
):
    """In a rotated basis modes of like units fall below the tolerance at a saddle."""
    monkeypatch.setattr(_rest, "MOST_WEIGHTS", most)
    monkeypatch.setattr(_spectrum, "FEW", 0)
    if not found:
        for name in ("all_modes", "greatest_modes"):
            monkeypatch.setattr(_rest, name, not_found)
    random = np.random.default_rng(8)
    left, middle, right = (np.linalg.qr(random.normal(size=(7, 7)))[0] for _ in "123")
    x = np.sqrt(7) * right
    y = x @ right.T @ np.diag([4.0, 2.0, 1.0, 0, 0, 0, 0]) @ left
    network = Factors(
        jnp.asarray(1e-12 * middle @ right), jnp.asarray(1e-12 * left.T @ middle.T)
    )
    path = tmp_path / "run"
    flow = gflow.GradientFlow(gflow.Square(), x, y)
    until = gflow.Until(log_t=np.log(40.0))
    options = {"progress": False, "throw": False, "checkpoint": path}
    curve = gflow.solve(flow, network, until=until, **options)
    again = gflow.resume(path, flow, network, progress=False, throw=False)
    for each in (curve, again):
        if not found:  # before the second mode is learned, at t = 13.99
            log_t = float(each.stats["unwatched"].split("log t = ")[1].split(":")[0])
            assert 0 < log_t < np.log(13)
            assert "modes grow" in each.stats["unwatched"]
            assert "unwatched" in repr(each)
        else:
            assert each.result == gflow.RESULTS.unresolved
            assert "unstable modes" in each.stats["verdict"]
            assert each.stats["unwatched"] is None
            assert "unwatched" not in repr(each)


@pytest.mark.parametrize("found", [True, False])
def test_lost_balances_of_many_weights_are_seen_or_the_curve_says_so(
    found, monkeypatch
):
    monkeypatch.setattr(_rest, "MOST_WEIGHTS", 1)
    if not found:
        monkeypatch.setattr(_rest, "outside_of_range", not_found)
    x, y = turned(0.7)
    network = Row(jnp.array([[0.3, 0.5]]))
    curve = solved(gflow.Logistic(), x, y, network, 1e3, throw=False)
    if found:
        assert curve.result == gflow.RESULTS.balanced
        assert curve.stats["unwatched"] is None
    else:
        assert curve.result != gflow.RESULTS.balanced
        assert "samples are lost in a balance" in curve.stats["unwatched"]
        assert "modes" not in curve.stats["unwatched"]
