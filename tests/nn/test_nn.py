import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from gflow import _tree
from gflow.nn import MLP, AbstractHomogeneous, DeepLinear, ResidualMLP
from hypothesis import given, settings, strategies as st
from problems import IN_SIZE, KEY, networks


each_network = pytest.mark.parametrize("make", networks.values(), ids=networks.keys())
X = jnp.array([[0.3, -1.2, 0.7], [-0.5, 0.1, 0.9], [1.1, 0.4, -0.2]])


def outputs(network):
    return jax.vmap(network)(X)


@each_network
@settings(max_examples=5)
@given(c=st.floats(0.5, 2.0))
def test_output_scales_with_the_declared_degree(make, c):
    network = make()
    scaled = _tree.scale(network, c)
    expected = c**network.degree * np.asarray(eqx.filter_jit(outputs)(network))
    found = eqx.filter_jit(outputs)(scaled)
    # Rounding of single terms is multiplied by the degree.
    atol = 1e-14 * network.degree * np.max(np.abs(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@each_network
def test_euler_identity(make):
    # <w, df/dw> = L f
    network = make()
    both = eqx.filter_jit(
        lambda f: eqx.filter_jvp(outputs, (f,), (_tree.parameters(f),))
    )
    value, slope = both(network)
    scale = np.max(np.abs(value))
    assert scale > 0
    np.testing.assert_allclose(
        slope, network.degree * value, rtol=1e-12, atol=1e-13 * scale
    )


@each_network
def test_jit_and_vmap_and_grad_agree_with_plain_calls(make):
    network = make()
    plain = network(X[0])
    assert plain.shape in ((), network.weights[-1].shape[:1])
    np.testing.assert_allclose(
        eqx.filter_jit(outputs)(network)[0], plain, rtol=1e-13, atol=1e-300
    )
    gradient = eqx.filter_jit(eqx.filter_grad(lambda f: jnp.sum(f(X[0]))))(network)
    assert jax.tree.structure(gradient) == jax.tree.structure(network)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@each_network
def test_leaves_are_the_weights_and_nothing_else(make):
    network = make()
    weights, rest = _tree.partition(network)
    assert tuple(jax.tree.leaves(weights)) == network.weights
    assert jax.tree.leaves(rest) == []
    assert eqx.combine(weights, rest).degree == network.degree


# Closed forms


def test_deep_linear_is_the_product_of_its_matrices():
    network = DeepLinear(IN_SIZE, (4, 5), 2, key=KEY)
    first, second, third = network.weights
    np.testing.assert_allclose(
        outputs(network), X @ (third @ second @ first).T, rtol=1e-13
    )


LEAKS = (0.0, 0.3, 1.0, -1.0, 2.0, -0.5)


def activations(u, power):
    """The activation itself for each leak: networks of one neuron of weight one."""
    ones = (jnp.ones((1, 1)), jnp.ones(1))
    return jnp.stack([MLP.from_weights(ones, power, a)(u[None]) for a in LEAKS])


@pytest.mark.parametrize("power", [1, 2, 3, 1.5, 2**0.5])
def test_activation_is_a_power_on_either_side(power):
    u = jnp.array([-2.0, -0.1, 0.0, 0.1, 2.0])
    factor = np.where(u > 0, 1.0, -np.array(LEAKS)[:, None])
    found = jax.jit(jax.vmap(lambda v: activations(v, power), out_axes=1))(u)
    np.testing.assert_allclose(found, factor * np.abs(u) ** power, rtol=1e-15)


@pytest.mark.parametrize("power", [1, 2, 3, 1.5, 1.01])
def test_derivatives_at_the_kink_are_those_of_the_left(power):
    slope = jax.jacobian(lambda u: activations(u, power))
    slopes, curvatures = jax.jit(lambda u: (slope(u), jax.jacobian(slope)(u)))(0.0)
    leaks = np.array(LEAKS)
    assert np.array_equal(slopes, leaks if power == 1 else 0 * leaks)
    assert np.array_equal(curvatures, -2 * leaks if power == 2 else 0 * leaks)


@pytest.mark.parametrize("leak", LEAKS)
def test_a_network_is_the_usual_one_of_leaky_relus(leak):
    network = MLP(IN_SIZE, (4, 5), 2, leak=leak, key=KEY)
    h = X.T
    for weight in network.weights[:-1]:
        h = jax.nn.leaky_relu(weight @ h, leak)
    np.testing.assert_allclose(
        outputs(network), (network.weights[-1] @ h).T, rtol=1e-13, atol=1e-15
    )


def plain_residual(network, x, power):
    """The usual residual network, for weights of norm one."""
    x = network.first @ x
    for inner, outer, *skip in network.blocks:
        side = skip[0] @ x if skip else x
        x = side + outer @ np.maximum(inner @ x, 0) ** power
    return network.last @ x


@pytest.mark.parametrize("skip", ["identity", "linear"])
@pytest.mark.parametrize("power", [1, 2])
def test_a_residual_network_on_the_unit_sphere_is_the_usual_one(skip, power):
    network = ResidualMLP(IN_SIZE, 4, 2, 3, skip, power, key=KEY)
    network = _tree.normalize(network)
    expected = [plain_residual(network, x, power) for x in X]
    np.testing.assert_allclose(outputs(network), expected, rtol=1e-12, atol=1e-15)


RESIDUAL = {
    "identity": (lambda: ResidualMLP(IN_SIZE, 4, 2, key=KEY), 6),
    "linear skips": (lambda: ResidualMLP(IN_SIZE, 4, 2, 3, "linear", key=KEY), 6),
    "squared": (lambda: ResidualMLP(IN_SIZE, 4, 2, power=2, key=KEY), 14),
    "power 3/2": (lambda: ResidualMLP(IN_SIZE, 4, 1, 2, power=1.5, key=KEY), 5),
}


@pytest.mark.parametrize(("make", "degree"), RESIDUAL.values(), ids=RESIDUAL.keys())
def test_residual_networks_are_homogeneous(make, degree):
    network = make()
    assert network.degree == degree
    assert gflow.degree(network, X) == degree


def test_degree_is_the_sum_of_powers():
    # sum of p^k for k below the number of layers
    assert MLP(IN_SIZE, (2, 2), power=3, key=KEY).degree == 13
    assert DeepLinear(IN_SIZE, (), key=KEY).degree == 1


def test_whole_powers_are_ints_whatever_their_type():
    powers: list = [2, 2.0, np.int64(2), np.float64(2)]
    for power in powers:
        network = MLP(IN_SIZE, (2,), power=power, key=KEY)
        assert isinstance(network.power, int)


# Initialization and given weights


def test_entries_start_gaussian_of_variance_one_over_inputs():
    weights = MLP(400, (300, 200), key=KEY).weights
    for weight in weights:
        entries = np.ravel(weight) * np.sqrt(weight.shape[-1])
        # Five standard deviations of the mean and of the mean square.
        assert abs(np.mean(entries)) < 5 / np.sqrt(entries.size)
        assert abs(np.mean(entries**2) - 1) < 5 * np.sqrt(2 / entries.size)
    assert not np.any(np.isin(weights[1][:5], weights[0]))


def test_a_key_fixes_the_weights():
    again, other = DeepLinear(5, (), key=jr.key(0)), DeepLinear(5, (), key=jr.key(1))
    network = DeepLinear(5, (), key=jr.key(0))
    assert np.array_equal(network.weights[0], again.weights[0])
    assert not np.any(network.weights[0] == other.weights[0])


@each_network
def test_given_weights_make_the_same_network(make):
    network = make()
    if isinstance(network, MLP):
        again = MLP.from_weights(network.weights, network.power, network.leak)
    else:
        again = DeepLinear.from_weights(network.weights)
    assert eqx.tree_equal(network, again)


def test_weights_are_given_in_numpy_and_under_jit():
    first, last = np.ones((2, IN_SIZE)), np.ones(2)
    network = MLP.from_weights([first, last])
    assert isinstance(network.weights[0], jax.Array)
    made_inside = jax.jit(lambda w: MLP.from_weights([w, last])(X[0]))
    np.testing.assert_allclose(made_inside(first), network(X[0]))


def test_ensembles_are_made_under_vmap():
    ensemble = eqx.filter_vmap(lambda key: MLP(IN_SIZE, (2,), key=key))(
        jr.split(KEY, 4)
    )
    assert ensemble.weights[0].shape == (4, 2, IN_SIZE)
    assert eqx.filter_vmap(lambda f: f(X[0]))(ensemble).shape == (4,)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_size": 0}, r"`in_size` must hold ints >= 1, but holds 0"),
        ({"in_size": 2.0}, r"`in_size` must hold ints >= 1, but holds 2\.0"),
        ({"widths": 32}, r"`widths` must be a tuple .* is 32\. .* pass `\(32,\)`"),
        ({"widths": (4, 0)}, r"`widths` must hold ints >= 1, but holds 0"),
        ({"widths": (True,)}, r"`widths` must hold ints >= 1, but holds True"),
        ({"widths": ()}, r"at least one hidden layer.*use `gflow\.nn\.DeepLinear"),
        ({"out_size": 1}, r"`out_size` must be .* is 1\. .* pass \"scalar\""),
        ({"out_size": "vector"}, r"`out_size` must be .* is 'vector'"),
        ({"power": 0.5}, r"`power` must be a finite number >= 1, but is 0\.5"),
        ({"power": float("nan")}, r"`power` must be a finite number >= 1, but is nan"),
        ({"power": "2"}, r"`power` must be a finite number >= 1, but is '2'"),
        ({"leak": float("inf")}, r"`leak` must be a finite number, but is inf"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    defaults: dict = {"in_size": 2, "widths": (3,), "key": KEY}
    with pytest.raises(ValueError, match=message):
        MLP(**defaults | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": 0}, "`blocks` must be at least 1, but is 0"),
        ({"width": 2.5}, r"`width` must be an integer, but is 2\.5"),
        ({"skip": "none"}, "`skip` must be .* but is 'none'"),
        ({"out_size": 1}, "`out_size` must be .* but is 1"),
    ],
)
def test_bad_residual_networks_are_refused(arguments, message):
    defaults: dict = {"in_size": 2, "width": 3, "blocks": 1, "key": KEY}
    with pytest.raises(ValueError, match=message):
        ResidualMLP(**defaults | arguments)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], r"`weights` must hold at least one layer"),
        ([(3,), (3,)], r"`weights\[0\]` must have shape \(out, in\), but has \(3,\)"),
        ([(2, 3), ()], r"`weights\[1\]` must have shape \(classes, in\), or \(in,\)"),
        ([(2, 3), (1, 2)], r"at least two rows.*scalar output, pass `weight\[0\]`"),
        ([(2, 3), (3,)], r"one column for each of the 2 rows of `weights\[0\]`"),
    ],
)
def test_given_weights_of_wrong_shapes_are_refused(shapes, message):
    weights = [np.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        DeepLinear.from_weights(weights)


def test_given_weights_must_be_floats():
    with pytest.raises(ValueError, match=r"`weights\[0\]` must hold floats"):
        DeepLinear.from_weights([np.ones(3, dtype=int)])


@each_network
def test_a_batch_is_refused(make):
    _error = pytest.raises(ValueError, match=r"one input of shape \(3,\).*jax\.vmap")
    network = make()
    with _error:
        network(X)
    with _error:
        eqx.filter_jit(network)(X[0, :2])


def test_a_network_is_a_layer_of_equinox():
    network = networks["relu"]()
    assert isinstance(network, AbstractHomogeneous)
    layers = eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), network])
    np.testing.assert_allclose(layers(X[:1]), network(X[0]), rtol=1e-13)
