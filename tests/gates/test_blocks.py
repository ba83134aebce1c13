"""Blocks of weights against the derivatives of each kink function."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gflow import _directions
from gflow._directions import block_rows, directions, kink_directions, kink_values
from gflow._field import Field
from gflow._sides import with_slides
from gflow._slides import with_gates


class Columns(eqx.Module):
    """A matrix the other way round, a bias, perhaps pairs of neurons that compete."""

    w: jax.Array
    b: jax.Array
    a: jax.Array
    paired: bool = eqx.field(static=True)

    def __call__(self, x):
        h = jax.nn.relu(x @ self.w + self.b)
        return self.a @ (jnp.maximum(h[::2], h[1::2]) if self.paired else h)


def columns(key, paired=False):
    shapes = (8, 10), (10,), (5 if paired else 10,)
    return Columns(*(jax.random.normal(key, shape) for shape in shapes), paired)


def pairs(key):
    return columns(key, paired=True)


# Networks of inputs of shape (8,), and how many blocks they have.
NETWORKS = {
    "neurons": (lambda key: gflow.nn.MLP(8, (9,), key=key), 9),
    "columns": (columns, 10),
    "pairs": (pairs, 1),
    "maxima of filters": (lambda key: gflow.nn.ConvNet((2, 4), (4,), key=key), 1),
    "of Equinox": (lambda key: eqx.nn.MLP(8, "scalar", 7, 1, key=key), 7),
    "deep": (lambda key: gflow.nn.MLP(8, (5, 4), key=key), 1),
}


@eqx.filter_jit
def derivatives(field, point):
    """Those of all kink functions."""
    return jax.jacrev(lambda p: kink_values(field, p).ravel())(point)


by_block = eqx.filter_jit(lambda *at: apart(block_rows(*at)))


def apart(rows):
    """Each row by itself, zero in other blocks."""
    blocks, room, most = rows.shape
    found = jnp.eye(blocks)[:, None, :, None] * rows[:, :, None]
    return found.reshape(blocks * room, blocks, most)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_kink_depends_on_the_weights_of_its_block(name, seed):
    make, count = NETWORKS[name]
    rng = np.random.default_rng(seed)
    network, x = make(jax.random.key(seed)), rng.normal(size=(3, 8))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.array([1, -1, 1]))
    field = Field(flow, network, gflow.clocks.Loss(), np.nan)
    blocks, sides = field.blocks, field.gates.on.shape
    assert blocks.count == count
    numbers = np.sort(rng.choice(sides[0] * sides[1], 8, replace=False))
    for _ in range(3):
        on = jnp.asarray(rng.random(sides) < 0.5)
        at = with_gates(field, eqx.tree_at(lambda g: g.on, field.gates, on))
        point = jnp.asarray(rng.normal(size=blocks.places.size))
        exact = derivatives(at, point)
        slides = with_slides(at.gates, blocks, numbers).slides
        rows = np.asarray(blocks.joined(by_block(at, point, slides)))
        assert sorted(np.asarray(slides)[np.asarray(slides) >= 0]) == list(numbers)
        for number, row in zip(np.asarray(slides).ravel(), rows, strict=True):
            expected = exact[number] if number >= 0 else np.zeros_like(row)
            np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)


class Faint(eqx.Module):
    """Of two neurons the second is seen through a constant."""

    w: jax.Array
    a: jax.Array
    share: float = eqx.field(static=True)

    def __call__(self, x):
        return self.a @ jax.nn.relu(jnp.array([1.0, self.share]) * (self.w @ x))


@pytest.mark.parametrize("share", [1.0, 1e-14, 1e14])
def test_the_units_of_a_kink_do_not_matter(share):
    rng = np.random.default_rng(3)
    network = Faint(*map(jnp.asarray, (rng.normal(size=(2, 3)), np.ones(2))), share)
    flow = gflow.GradientFlow(
        gflow.Logistic(), rng.normal(size=(4, 3)), np.ones(4, int)
    )
    assert Field(flow, network, gflow.clocks.Loss(), np.nan).blocks.count == 2


@pytest.mark.parametrize("seed", range(4))
def test_the_narrowest_deep_network_is_not_straight(seed):
    network = gflow.nn.MLP(2, (1, 1), key=jax.random.key(seed))
    flow = gflow.GradientFlow(gflow.Logistic(), np.ones((1, 2)), np.array([1]))
    field = Field(flow, network, gflow.clocks.Loss(), np.nan)
    assert field.kinks.count == 2
    assert not field.straight


@pytest.mark.parametrize("rows", [3, 8, 100])
@pytest.mark.parametrize("among", [0, 1, 9, 21])
def test_directions_are_the_same_few_at_a_time(rows, among, monkeypatch):
    """However many there are in their room, with gaps, and how they turn too."""
    monkeypatch.setattr(_directions, "ROWS", rows)
    rng = np.random.default_rng(among)
    x, network = rng.normal(size=(6, 8)), gflow.nn.MLP(8, (5, 4), key=jax.random.key(3))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.ones(6))
    field = Field(flow, network, gflow.clocks.Loss(), np.nan)
    numbers = np.full((1, 21), -1)
    places = rng.choice(21, among, replace=False)
    numbers[0, places] = rng.choice(field.gates.on.size, among, replace=False)
    point, chance = (jnp.asarray(rng.normal(size=network_size(network))) for _ in "ab")

    def both(found):
        return jax.jit(lambda *a: jax.jvp(found, *a))((point,), (chance,))

    few = both(lambda p: kink_directions(field, p, jnp.asarray(numbers)))
    whole = both(lambda p: directions(block_rows(field, p, jnp.asarray(numbers))))
    for one, other in zip(*map(jax.tree.leaves, (few, whole)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def network_size(network):
    return sum(leaf.size for leaf in jax.tree.leaves(network))
