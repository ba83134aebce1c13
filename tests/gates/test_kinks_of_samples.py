"""Kinks that some samples hide: those of the flow are the same in any order."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow._gates import kinks


class Halves(eqx.Module):
    """A ReLU on one half of the input, an absolute value on the other, and squares."""

    u: jax.Array
    v: jax.Array
    a: jax.Array

    def __call__(self, x):
        first, second = jax.nn.relu(self.u @ x[:2]), jnp.abs(self.v @ x[2:])
        smooth = jax.nn.relu(self.u @ x[:2]) ** 2
        return self.a @ jnp.stack([first, second, smooth])


ONE_HOT = np.eye(4)[[0, 2, 1, 3]]
PARTS = np.array([[0.0] * 4, [1.0, 0.5, 0, 0], [0, 0, 1.0, 0], [0.3, 1, 1, 1]])


def network(seed=0):
    shapes, random = ((2,), (2,), (3,)), np.random.default_rng(seed)
    return Halves(*(jnp.asarray(random.normal(size=shape)) for shape in shapes))


@pytest.mark.parametrize(("telling", "looked"), [(16, 10_000), (4, 4)])
@pytest.mark.parametrize("x", [ONE_HOT, PARTS, PARTS[:3]], ids=["one-hot", "all", "no"])
def test_the_order_of_samples_is_of_no_matter(x, telling, looked, monkeypatch):
    """The square of a ReLU has no gate, the other two have one each."""
    monkeypatch.setattr(kinks, "TELLING", telling)
    monkeypatch.setattr(kinks, "LOOKED", looked)
    y = np.array([1.0, -1.0, 1.0, 1.0])[: len(x)]
    for shift in range(len(x)):
        turned = np.roll(np.arange(len(x)), shift)
        flow = gflow.GradientFlow(gflow.Logistic(), x[turned], y[turned])
        assert gflow.point(flow, network()).gates.shape == (len(x), 2)


def test_flows_that_pass_and_slide_are_the_same_in_any_order():
    random = np.random.default_rng(1)
    x = np.vstack([np.zeros((1, 4)), random.normal(size=(8, 4))])
    x[4, :2], x[5, 2:] = 0.0, 0.0
    y, until = np.sign(random.normal(size=9)), gflow.Until(log_t=4.0)
    ends = []
    for order in (np.arange(9), np.arange(9)[::-1]):
        flow = gflow.GradientFlow(gflow.Logistic(), x[order], y[order])
        curve = gflow.solve(flow, network(), until=until, rtol=1e-8, progress=False)
        assert curve.stats["events"] > 0  # else nothing is shown
        ends.append([curve.log_loss[-1], *curve[-1].network.u, *curve[-1].network.v])
    np.testing.assert_allclose(ends[1], ends[0], rtol=0, atol=1e-6)


def test_jumps_are_seen_behind_a_sample_that_hides_them():
    class Jump(eqx.Module):
        w: jax.Array

        def __call__(self, x):
            u = self.w @ x
            return jnp.where(u > 0, u + 1.0, 0 * u)

    x, y = np.array([[0.0, 0.0], [1.0, 0.0], [0.3, 2.0]]), np.array([1.0, 2.0, -1.0])
    flow = gflow.GradientFlow(gflow.Square(), x, y)
    with pytest.raises(ValueError, match="jumps"):
        gflow.solve(
            flow, Jump(jnp.ones(2)), until=gflow.Until(log_t=1.0), progress=False
        )


def test_few_samples_tell_of_all_inputs():
    random = np.random.default_rng(2)
    dense = random.normal(size=(50, 7))
    assert kinks.telling(jnp.asarray(dense)) == [0]
    sparse = dense * (random.random(size=dense.shape) < 0.2)
    chosen = kinks.telling(jnp.asarray(sparse))
    assert np.all(np.any(sparse[chosen] != 0, axis=0) == np.any(sparse != 0, axis=0))
    assert len(chosen) <= 7
