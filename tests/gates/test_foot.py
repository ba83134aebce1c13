"""The kink of a sample that no table knows is found from slopes on both sides."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from gflow._clock import choose_field
from gflow._foot import Pulling, foot_of
from hypothesis import assume, example, given, strategies as st
from lost_samples import problem
from points import start_of


def pre_activations(network, x):
    """What each squared ReLU of a sample is of, layer after layer."""
    found = []
    for weight in network.weights[:-1]:
        found.append(weight @ x)
        x = jnp.maximum(found[-1], 0.0) ** network.power
    return jnp.concatenate(found)


@given(
    seed=st.integers(0, 9999),
    kink=st.integers(0, 5),
    tilt=st.floats(0.0, 1.0),
)
@example(seed=1, kink=0, tilt=0.5)
@example(seed=1, kink=4, tilt=0.5)
def test_a_kink_that_is_not_known_is_found(seed, kink, tilt):
    flow, network = problem(seed)
    field, _ = choose_field(flow, network, None)
    point, _ = start_of(field, network)

    def u(point):
        return pre_activations(field.network(point), flow.x[0])[kink]

    for _ in range(30):  # onto u = 0
        row = jax.grad(u)(point)
        assume(float(jnp.linalg.norm(row)) > 1e-3)
        point = point - u(point) * row / jnp.dot(row, row)
    normal = jax.grad(u)(point)
    normal = normal / jnp.linalg.norm(normal)
    across = jr.normal(jr.key(seed), point.shape)
    across = across - jnp.dot(across, normal) * normal
    line = normal + tilt * across / jnp.linalg.norm(across)
    line = line / jnp.linalg.norm(line)
    # Off u = 0 by a little, along the normal.
    off, place = 3e-7, 1e-6
    own = Pulling(jnp.zeros(1, int), jnp.ones(1))
    places = map(jnp.asarray, (place, -place, 1e-7))
    foot = eqx.filter_jit(foot_of)(field, point + off * normal, own, line, *places)
    slope = jax.grad(lambda p: field.margins(p)[0])(point + place * normal)
    before = jax.grad(lambda p: field.margins(p)[0])(point - place * normal)
    # The sample depends on this kink, and by more than rounding.
    assume(jnp.linalg.norm(slope - before) > 1e-7 * jnp.linalg.norm(slope))
    assert abs(float(foot.at) + off) <= 0.02 * off
    assert float(jnp.dot(foot.normal, normal)) >= 1 - 1e-3
