"""Input that cannot be used is refused, by name, with what to do about it."""

import pathlib
import subprocess
import sys
from typing import Any

import diffrax as dfx
import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from curves import problem


X = np.array([[1.0, 0.2], [-1.0, 0.3], [0.5, -2.0]])
Y = np.array([1.0, -1.0, 1.0])
UNTIL = gflow.Until(log_t=10.0)
MLP = gflow.nn.MLP(2, (3,), power=2, key=jr.key(0))


def weights(fn):
    return jax.tree.map(fn, MLP)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:, None], r"`y` must have shape \(samples,\), .* \(3, 1\).*`y\[:, 0\]`"),
        (
            X,
            [1, 0, 1],
            r"`y` must hold -1 and \+1 only, but holds \[0\]\. .*2 \* y - 1",
        ),
        (X, [1, -1, 2], r"`y` must hold -1 and \+1 only, but holds \[2\]"),
        (X, [1, -1, np.nan], r"`y` must be finite, but 1 of its 3 entries"),
        (X, Y[:2], r"`x` and `y` must have as many samples, but have 3 and 2"),
        (X[:, 0], Y, r"`x` must have shape \(samples, features\).*`x\[:, None\]`"),
        (X[:0], Y[:0], r"`x` must have shape \(samples, features\), samples >= 1"),
        (np.where(X == 1, np.nan, X), Y, r"`x` must be finite, but 1 of its 6"),
        (np.where(X < 0, np.inf, X), Y, r"`x` must be finite, but 2 of its 6"),
        (X.astype("float32"), Y, r"`x` must be float64, .*\.astype\('float64'\)"),
        (X, Y.astype("float32"), r"`y` must be float64, but is float32"),
        (X.astype(complex), Y, r"`x` must hold real numbers, but has complex128"),
        (X, ["a", "b", "a"], r"`y` must hold real numbers"),
    ],
)
def test_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        gflow.GradientFlow(gflow.Logistic(), x, y)


@pytest.mark.parametrize("loss", [gflow.Logistic, "logistic", None])
def test_a_loss_is_an_instance(loss):
    with pytest.raises(ValueError, match=r"`loss` must be a loss such as .*Logistic"):
        gflow.GradientFlow(loss, X, Y)


class Wide(eqx.Module):
    matrix: jax.Array

    def __call__(self, x):
        return self.matrix @ x


class Smooth(eqx.Module):
    vector: jax.Array

    def __call__(self, x):
        return jax.nn.softplus(self.vector @ x)


NETWORKS = {
    "bias": (
        lambda: eqx.nn.MLP(2, "scalar", 4, 1, key=jr.key(0)),
        r"`network` must be positively homogeneous .*Remove biases",
    ),
    "softplus": (
        lambda: Smooth(jnp.ones(2)),
        r"`network` must be positively homogeneous .*use ReLU or its powers",
    ),
    "zero": (
        lambda: weights(lambda leaf: 0 * leaf),
        r"`network` must have a nonzero weight.*multiply random weights by 1e-10",
    ),
    "NaN": (
        lambda: weights(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan)),
        r"`network.*` must be finite, but holds NaN or inf",
    ),
    "inf": (
        lambda: weights(lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.inf)),
        r"`network.*` must be finite, but holds NaN or inf",
    ),
    "float32": (
        lambda: weights(lambda leaf: leaf.astype("float32")),
        r"`network.*` must be float64, but is float32.*jax_enable_x64",
    ),
    "vector of one": (lambda: Wide(jnp.ones((1, 2))), r"scalar.*return `output\[0\]`"),
    "matrix": (lambda: Wide(jnp.ones((2, 2, 2))), r"`network` must map one input to"),
    "two logits": (
        lambda: Wide(jnp.array([[1.0, 2.0], [0.5, 1.0]])),
        r"`network` must map one",
    ),
    "no weights": (lambda: jnp.sum, r"`network` must have weights"),
    "not callable": (lambda: jnp.ones(2), r"`network` must be callable"),
}


@pytest.mark.parametrize(("make", "message"), NETWORKS.values(), ids=NETWORKS.keys())
def test_networks(make, message):
    flow = gflow.GradientFlow(gflow.Logistic(), X, Y)
    with pytest.raises(ValueError, match=message):
        gflow.solve(
            flow, make(), until=UNTIL, clock=gflow.clocks.Polar(), progress=False
        )


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({}, r"`until` must name at least one level, .* is empty"),
        (
            {"log_t": float("nan")},
            r"`until\.log_t` must be a finite number, but is nan",
        ),
        ({"log_t": "1e9"}, r"`until\.log_t` must be a finite number, but is .1e9."),
        (
            {"log_loss": None, "log_radius": [1]},
            r"`until\.log_radius` must be a finite",
        ),
        ({"converged": 0.0}, r"`until\.converged` must be positive, but is 0\.0"),
        ({"converged": -1e-3}, r"`until\.converged` must be positive"),
    ],
)
def test_levels(levels, message):
    with pytest.raises(ValueError, match=message):
        gflow.Until(**levels)


OPTIONS = [
    ({"until": 1e9}, r"`until` must be a `gflow\.Until`, .* is 1000000000\.0"),
    ({"until": None}, r"`until` must be a `gflow\.Until`"),
    ({"until": gflow.Until(log_radius=-3.0)}, r"`until\.log_radius` must lie ahead"),
    ({"until": gflow.Until(log_margin_scale=-9.0)}, r"margin_scale` must lie ahead"),
    ({"until": gflow.Until(log_loss=50.0)}, r"`until\.log_loss` must lie ahead"),
    ({"rtol": 0.0}, r"`rtol` must be a positive number, but is 0\.0"),
    ({"rtol": -1e-6}, r"`rtol` must be a positive number, but is -1e-06"),
    ({"rtol": float("nan")}, r"`rtol` must be a positive number, but is nan"),
    ({"rtol": "1e-6"}, r"`rtol` must be a positive number, but is '1e-6'"),
    ({"rtol": 1e-14}, r"`rtol` must lie between 1e-13 and 0\.1, but is 1e-14"),
    ({"rtol": 0.5}, r"`rtol` must lie between 1e-13 and 0\.1, but is 0\.5"),
    ({"atol": -1e-9}, r"`atol` must be a number from 0 to 0\.1, but is -1e-09"),
    ({"atol": "0"}, r"`atol` must be a number from 0 to 0\.1, but is '0'"),
    ({"max_steps": 0}, r"`max_steps` must be a positive number, but is 0"),
    ({"max_steps": 1.5}, r"`max_steps` must be a whole number, but is 1\.5"),
    ({"solver": dfx.Tsit5}, r"`solver` must be an adaptive Diffrax solver"),
    ({"solver": dfx.Euler()}, r"`solver` must be an adaptive Diffrax solver"),
    ({"solver": "Tsit5"}, r"`solver` must be an adaptive Diffrax .* is 'Tsit5'"),
    ({"progress": "bar"}, r"`progress` must be True, False or a meter, .* 'bar'"),
    ({"progress": None}, r"`progress` must be True, False or a meter"),
    ({"save": [1.0, 2.0]}, r"`save` must be a `gflow\.SaveAt`, but is \[1\.0, 2\.0\]"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_options(options, message):
    options = {"until": UNTIL, "progress": False} | options
    with pytest.raises(ValueError, match=message):
        gflow.solve(*problem("relu2"), **options)


@pytest.mark.parametrize("times", [[], [[1.0, 2.0]], [2.0, 1.0], [0.0, np.nan]])
def test_times_to_save_at(times):
    with pytest.raises(ValueError, match=r"`SaveAt\.log_t` must be a vector"):
        gflow.SaveAt(log_t=times)


def test_a_flow_is_made_outside_of_jit():
    def made(x):
        return gflow.GradientFlow(gflow.Logistic(), x, Y).x

    for transform in (jax.jit, jax.vmap):
        with pytest.raises(TypeError, match="works on the host"):
            transform(made)(X)


def test_ragged_inputs():
    with pytest.raises(ValueError, match="`x` must be an array of numbers"):
        gflow.GradientFlow(gflow.Logistic(), [[1.0], [2.0, 3.0], [1.0]], Y)


def test_a_flow_is_not_a_loss():
    flow: Any = gflow.Logistic()
    with pytest.raises(ValueError, match=r"`flow` must be a `gflow\.GradientFlow`"):
        gflow.solve(flow, MLP, until=UNTIL)


def test_an_early_end_says_so_and_gives_what_it_has():
    with pytest.raises(gflow.SolveError, match=r"took `max_steps` steps") as caught:
        gflow.solve(*problem("relu2"), until=UNTIL, max_steps=7, progress=False)
    kept = caught.value.trajectory
    returned = gflow.solve(
        *problem("relu2"), until=UNTIL, max_steps=7, progress=False, throw=False
    )
    for trajectory in (kept, returned):
        assert trajectory.result == gflow.RESULTS.out_of_steps
        assert trajectory.stats["steps"] + trajectory.stats["rejected"] == 7
        assert len(trajectory.tau) == 1 + trajectory.stats["steps"]
        assert trajectory.stats["stopped_by"] is None
        assert trajectory.at(tau=trajectory.tau[-1]).log_t[0] < 10.0
    assert "max_steps" in str(returned.result)


IN_32_BITS = """
import numpy as np, gflow, pytest
x, y = np.array([[1.0, 0.2], [-1.0, 0.3]]), np.array([1.0, -1.0])
with pytest.raises(ValueError, match="64-bit floats.*jax_enable_x64"):
    gflow.GradientFlow(gflow.Logistic(), x, y)
"""


def test_64_bits_must_be_on():
    root = pathlib.Path(gflow.__file__).parent.parent
    subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_32_BITS],
        cwd=root,
        check=True,
        timeout=60,
    )


class Branching(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return self.w @ x if self.w[0] > 0 else -self.w @ x


class Plain(eqx.Module):
    w: jax.Array

    def __call__(self, x):
        return self.w @ x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Plain(jnp.ones(7)), r"one input of shape \(2,\).* as many inputs"),
        (Branching(jnp.ones(2)), r"boolean conversion.* use `jnp\.where`"),
    ],
)
def test_networks_that_do_not_run_on_the_data(network, message):
    flow = gflow.GradientFlow(gflow.Logistic(), X, Y)
    with pytest.raises(ValueError, match=message):
        gflow.solve(flow, network, until=UNTIL, progress=False)


def test_weights_whose_squares_underflow():
    flow = gflow.GradientFlow(gflow.Square(), X, Y)
    with pytest.raises(ValueError, match="squares would underflow"):
        gflow.solve(flow, Plain(1e-170 * jnp.ones(2)), until=UNTIL, progress=False)


def test_a_diagnostic_is_of_a_point():
    curve = gflow.solve(*problem("relu2"), until=UNTIL, progress=False)
    for diagnostic in (
        gflow.margins.normalized, gflow.kkt.alignment, gflow.kernels.tangent
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"`point` .* is a Trajectory.*map"):
            diagnostic(curve)


@pytest.mark.parametrize("beta", [True, "1", jnp.array(2.0)])
def test_tails_are_python_numbers(beta):
    with pytest.raises(ValueError, match="must be a positive Python number"):
        gflow.ExponentialTail(beta)
    assert gflow.ExponentialTail(np.float32(2)).tail == 2.0


def test_masked_samples():
    x = np.ma.masked_array(X, mask=[[True, False], [False, False], [False, False]])
    with pytest.raises(ValueError, match="`x` must not be masked, but 1 of its 6"):
        gflow.GradientFlow(gflow.Logistic(), x, Y)
    whole = gflow.GradientFlow(gflow.Logistic(), np.ma.masked_array(X), Y)
    assert np.array_equal(whole.x, X)
