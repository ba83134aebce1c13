"""What may sit in a network: modules of Equinox, constants, keys, frozen parts."""

from typing import Any

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from tiers import but_slow


KEY = jr.key(5)
UNTIL = gflow.Until(log_t=2.0)


def flow():
    x, y = gflow.data.separable(9, 4, shift=0.3, seed=2)
    return gflow.GradientFlow(gflow.Logistic(), x, y)


def solve(network, **options):
    options = {"until": UNTIL, "rtol": 1e-8, "progress": False} | options
    return gflow.solve(flow(), network, **options)


def linear(inputs, outputs, number):
    key = jr.fold_in(KEY, number)
    return eqx.nn.Linear(inputs, outputs, use_bias=False, key=key)


class Last(eqx.Module):
    """A scalar from any module with one output; with anything beside it."""

    inner: Any
    beside: Any = None

    def __call__(self, x):
        return jnp.squeeze(self.inner(x))


class Squares(eqx.Module):
    first: Any
    last: Any
    scale: Any = 1

    def __call__(self, x):
        return self.scale * self.last @ jax.nn.relu(self.first @ x) ** 2


class Tied(eqx.Module):
    """Two layers with one matrix."""

    shared: eqx.nn.Shared

    def __init__(self):
        pair = linear(4, 4, 0), linear(4, 4, 1)
        self.shared = eqx.nn.Shared(
            pair, where=lambda p: p[1].weight, get=lambda p: p[0].weight
        )

    def __call__(self, x):
        one, two = self.shared()
        return jnp.sum(two(jax.nn.softplus(one(x))))


def squares(**changes):
    first, last = jr.normal(KEY, (5, 4)), jr.normal(KEY, (5,))
    return Squares(**({"first": first, "last": last} | changes))


def by_scipy(network):
    """The network at log t = 2, by SciPy."""
    return gflow.testing.follow(flow(), network, 2.0, rtol=1e-10, method="DOP853")


MODULES = {
    "sequential": lambda: Last(
        eqx.nn.Sequential(
            [linear(4, 5, 0), eqx.nn.Lambda(jax.nn.softplus), linear(5, 1, 1)]
        )
    ),
    "weight norm": lambda: Last(
        eqx.nn.Sequential(
            [
                eqx.nn.WeightNorm(linear(4, 5, 0)),
                eqx.nn.Lambda(jnp.tanh),
                linear(5, 1, 1),
            ]
        )
    ),
    "layer norm": lambda: Last(
        eqx.nn.Sequential([linear(4, 5, 0), eqx.nn.LayerNorm(5), linear(5, 1, 1)])
    ),
    "inactive dropout": lambda: eqx.nn.inference_mode(
        Last(eqx.nn.Sequential([linear(4, 5, 0), eqx.nn.Dropout(), linear(5, 1, 1)]))
    ),
    "tied layers": Tied,
}


BEYOND = ("sequential", "layer norm", "inactive dropout")


@pytest.mark.parametrize("name", but_slow(MODULES, *BEYOND))
def test_modules_of_equinox_flow_as_scipy_says(name):
    network = MODULES[name]()
    found = jax.tree.leaves(
        eqx.filter(solve(network)[-1].network, eqx.is_inexact_array)
    )
    exact = jax.tree.leaves(eqx.filter(by_scipy(network), eqx.is_inexact_array))
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_what_is_no_array_of_floats_stays_as_it_is():
    inner = gflow.nn.MLP(4, (5,), power=2, key=KEY)
    tree = {"a": None, "text": "text", "counts": jnp.arange(4), "function": jnp.tanh}
    beside = (3, 1.0, KEY, tree)
    plain, other = (solve(Last(inner, what))[-1] for what in ((), beside))
    assert plain.log_loss == other.log_loss
    assert eqx.tree_equal(other.network.beside, beside)


WRONG = {
    "NumPy's array": (
        lambda: squares(first=np.ones((5, 4))), r"`network\.first` must be a JAX array",
    ),
    "NumPy's scalar": (
        lambda: squares(scale=np.float64(2.0)), r"`network\.scale` .* `gflow\.nn\.Fix",
    ),
    "complex": (
        lambda: squares(first=jnp.ones((5, 4), complex)), "real and imaginary parts",
    ),
    "bfloat16": (
        lambda: squares(last=jnp.ones(5, jnp.bfloat16)), "must be float64, but is bf",
    ),
    "dropout": (
        lambda: Last(eqx.nn.Sequential([linear(4, 1, 0), eqx.nn.Dropout(0.3)])),
        "holds `Dropout` that draws at random. Pass `eqx.nn.inference_mode",
    ),
    "batch norm": (
        lambda: Last(
            eqx.nn.Sequential([linear(4, 5, 0), eqx.nn.BatchNorm(5, "b", mode="ema")])
        ),
        "holds `BatchNorm`, which keeps a state",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    "use",
    [
        solve,
        lambda network: gflow.point(flow(), network),
        lambda network: gflow.degree(network, flow().x),
    ],
    ids=["solve", "point", "degree"],
)
def test_what_cannot_be_followed_is_refused_by_name(name, use):
    make, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        use(make())


class Masked(eqx.Module):
    first: gflow.nn.Frozen
    last: jax.Array

    def __call__(self, x):
        return self.last @ jax.nn.relu(self.first.value @ x) ** 2


@pytest.mark.parametrize("held", but_slow([0.0, 0.7], 0.7))
def test_a_frozen_part_stays_and_the_rest_moves_as_without_it(held):
    network = squares()
    mask = np.asarray(jr.bernoulli(KEY, 0.4, (5, 4)))
    whole = jnp.where(mask, held, network.first)
    run = solve(Masked(gflow.nn.Frozen(whole, mask), network.last), rtol=1e-10)
    # Zeros keep the degree; other constants have none.
    assert run.degree == (3.0 if held == 0 else None)
    end = run[-1].network
    assert np.array_equal(end.first.value[mask], whole[mask])
    # The same flow, of the entries that move alone.
    places = np.argwhere(~mask)

    def wide(entries):
        return whole.at[places[:, 0], places[:, 1]].set(entries)

    class Entries(eqx.Module):
        entries: jax.Array
        last: jax.Array

        def __call__(self, x):
            return self.last @ jax.nn.relu(wide(self.entries) @ x) ** 2

    other = solve(Entries(whole[~mask], network.last), rtol=1e-10)[-1].network
    moved = end.first.value[~mask]
    np.testing.assert_allclose(moved, other.entries, rtol=0, atol=1e-5)
    assert np.max(np.abs(moved - whole[~mask])) > 0.1


def test_masks_are_checked():
    with pytest.raises(
        ValueError, match=r"`mask` must hold booleans in the shape \(2,\)"
    ):
        gflow.nn.Frozen(jnp.ones(2), [1, 0])
    with pytest.raises(ValueError, match=r"but holds bool in shape \(3,\)"):
        gflow.nn.Frozen(jnp.ones(2), [True, False, True])


TRANSFORMED = {
    "solve under jit": lambda network, run: eqx.filter_jit(solve)(network),
    "solve under grad": lambda network, run: eqx.filter_grad(
        lambda n: solve(n).log_loss[-1]
    )(network),
    "limit under grad": lambda network, run: eqx.filter_grad(
        lambda curve: gflow.limit(curve).margin
    )(run),
    "point under vmap": lambda network, run: jax.vmap(
        lambda *w: gflow.point(flow(), Squares(*w)).log_loss
    )(network.first[None], network.last[None]),
    "a host's diagnostic under jit": lambda network, run: eqx.filter_jit(
        gflow.kkt.min_norm_subgradient
    )(run[-1]),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_what_works_on_the_host_says_so_inside_of_transformations(name):
    network = squares()
    with pytest.raises(TypeError, match=r"works on the host, .* Call it outside"):
        TRANSFORMED[name](network, solve(network))


def test_a_flows_own_functions_work_inside_of_transformations():
    problem, network = flow(), squares()
    value, slope = eqx.filter_jit(eqx.filter_value_and_grad(problem.log_loss))(network)
    margins = np.asarray(problem.margins(network))
    np.testing.assert_allclose(value, np.log(np.mean(np.log1p(np.exp(-margins)))))
    first, last = (
        jnp.stack([leaf, 2 * leaf]) for leaf in (network.first, network.last)
    )
    both = jax.vmap(lambda *w: problem.margins(Squares(*w)))(first, last)
    np.testing.assert_allclose(both[1], 8 * both[0])
    # Euler's identity: <w, d log loss> = L <z, d log loss / dz>.
    pairs = ((network.first, slope.first), (network.last, slope.last))
    turned = sum(jnp.sum(weights * gradient) for weights, gradient in pairs)
    pull = -1 / (1 + np.exp(margins)) / len(margins)
    np.testing.assert_allclose(turned, 3 * np.sum(pull * margins) / np.exp(value))
