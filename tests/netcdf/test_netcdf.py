"""Trajectories as datasets and files: every bit comes back, or an error says why."""

import functools
import sys

import equinox as eqx
import gflow
import h5py
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from curves import curve, problem, same
from gflow import Until, _described, _tree
from gflow.nn import Fixed


X = np.array([[1.0, 0.5], [-0.3, 1.0], [0.2, -1.0], [0.7, 0.1], [-1.0, -0.4]])


def solved(flow, network):
    until = Until(log_t=5.0)
    run = gflow.solve(flow, network, until=until, rtol=1e-4, progress=False)
    return flow, network, run


class Scaled(eqx.Module):
    """A network with an array that is no weight."""

    network: gflow.nn.MLP
    factor: Fixed

    def __call__(self, x):
        return self.factor.value * self.network(x)


def classes():
    flow = gflow.GradientFlow(gflow.CrossEntropy(), X, np.array([0, 1, 2, 0, 1]))
    network = gflow.nn.MLP(2, (3,), 3, power=2, key=jr.key(0))
    return solved(flow, Scaled(network, Fixed(jnp.array(2.0))))


def targets():
    flow = gflow.GradientFlow(gflow.Square(), X, X @ [1.0, 2.0])
    network = gflow.nn.SmoothMLP(2, (3,), key=jr.key(0))
    return solved(flow, network)


def steepest():
    flow = gflow.SteepestFlow(
        gflow.ExponentialTail(0.5), X, np.sign(X[:, 1]), norm="l2"
    )
    return solved(flow, gflow.nn.DeepLinear(2, (2,), key=jr.key(0)))


def endless():
    """Physical time overflows at last; it is `-inf` at the start in any case."""
    flow, network, run = run_of("two classes")
    log_t = np.append(run.log_t[:-1], np.inf)
    return flow, network, eqx.tree_at(lambda t: t.log_t, run, log_t)


RUNS = {
    "two classes": lambda: (*problem("relu2"), curve("relu2")),
    "more classes, a fixed part": classes,
    "square loss, biases, no degree": targets,
    "steepest, with parameters": steepest,
    "infinite times": endless,
}
run_of = functools.cache(lambda name: RUNS[name]())
each_run = pytest.mark.parametrize("name", RUNS)


def saved(name, folder):
    flow, network, run = run_of(name)
    path = folder / "run.nc"
    run.save(path)
    return flow, network, run, path


@each_run
def test_every_bit_comes_back(name, tmp_path):
    flow, network, run, path = saved(name, tmp_path)
    back = gflow.load(path, flow, network)
    assert same(back, run)
    assert back.stats == run.stats
    assert back.degree == run.degree
    assert back.result == run.result
    fields = [eqx.tree_at(lambda f: f.degree, t.field, 0.0) for t in (back, run)]
    assert eqx.tree_equal(*fields)  # NaN, the degree of some, equals nothing
    assert [type(a) for a in (back.tau, back.weights)] == [np.ndarray] * 2


def test_infinite_times_are_among_them(tmp_path):
    flow, network, _, path = saved("infinite times", tmp_path)
    log_t = gflow.load(path, flow, network).log_t
    assert log_t[0] == -np.inf
    assert log_t[-1] == np.inf


@each_run
def test_dense_output_and_map_work_as_before(name, tmp_path):
    flow, network, run, path = saved(name, tmp_path)
    back = gflow.load(path, flow, network)
    times = np.linspace(0, run.tau[-1], 7)
    assert same(back.at(tau=times), run.at(tau=times))
    found, expected = (np.asarray(one.margins)[1:-1] for one in (back, run))
    assert np.array_equal(found, expected)


def test_the_limit_is_the_same(tmp_path):
    flow, network = problem("relu2")
    run = gflow.solve(
        flow, network, until=Until(log_margin_scale=100.0), progress=False
    )
    run.save(tmp_path / "run.nc")
    back = gflow.load(tmp_path / "run.nc", flow, network)
    one, other = (gflow.limit(curve) for curve in (run, back))
    assert one.margin == other.margin
    assert one.verdict == other.verdict == "local maximum"


@pytest.mark.parametrize("times", [[0.5, 1.0], []])
def test_without_dense_output_and_even_without_samples(times, tmp_path):
    flow, network = problem("relu2")
    run = curve("relu2").at(tau=np.array(times))
    run.save(tmp_path / "run.nc")
    back = gflow.load(tmp_path / "run.nc", flow, network)
    assert same(back, run)
    assert back.steps is None


def test_the_values_of_the_network_do_not_matter(tmp_path):
    flow, _, run, path = saved("two classes", tmp_path)
    other = gflow.nn.MLP(10, (10,), power=2, key=jr.key(5))
    assert same(gflow.load(path, flow, other), run)


def test_an_older_file_is_replaced_and_nothing_else_left(tmp_path):
    saved("more classes, a fixed part", tmp_path)
    flow, network, run, path = saved("two classes", tmp_path)
    assert same(gflow.load(path, flow, network), run)
    assert list(tmp_path.iterdir()) == [path]


@each_run
def test_the_dataset_is_the_trajectory(name):
    flow, _, run = run_of(name)
    data = run.to_xarray()
    for field in ("tau", "log_t", "log_radius", "log_loss", "weights"):
        assert data[field].dims[0] == "time"
        assert np.array_equal(data[field], getattr(run, field))
    assert np.array_equal(data.x, flow.x)
    assert np.array_equal(data.y, flow.y)
    leaves = [v for k, v in data.items() if str(k).startswith("direction")]
    size = sum(np.square(leaf).sum(leaf.dims[1:]) for leaf in leaves)
    assert np.allclose(size, 1, rtol=1e-12)
    expected = flow.sample_margins(_last(run), flow.x[1], flow.y[1])
    found = data.end_margins[data.margin_sample.values == 1]
    assert np.allclose(found, expected, rtol=1e-10)


def _last(run):
    """The last direction as a network, without its time axis."""
    moving, still = _tree.partition(run.direction)
    return eqx.combine(jax.tree.map(lambda leaf: leaf[-1], moving), still)


def test_arrays_are_named_by_their_path_and_say_what_they_are():
    data = curve("relu2").to_xarray()
    first = data.direction_weights_0
    assert first.dims == (
        "time", "direction_weights_0_axis_0", "direction_weights_0_axis_1",
    )  # fmt: skip
    assert first.attrs["path"] == ".weights[0]"
    assert all(v.attrs["units"] == "1" for v in data.variables.values())
    assert all(v.attrs["long_name"] for v in data.variables.values())
    assert data.attrs["degree"] == 3.0
    assert data.attrs["result"] == "successful"
    assert data.attrs["loss"] == "Logistic()"
    assert data.attrs["clock"] == "Polar"


def test_arrays_of_one_name_are_told_apart():
    network = {"a": {"b": jnp.ones(2)}, "a_b": jnp.ones(3), "a/b": jnp.ones(4)}
    names = [part.name for part in _described.moving(network)]
    assert len(set(names)) == 3
    assert all(name.replace("_", "").isalnum() for name in names)


def test_other_programs_can_read_it(tmp_path):
    *_, run, path = saved("more classes, a fixed part", tmp_path)
    with h5py.File(path) as file:
        weights = file["weights"]
        assert isinstance(weights, h5py.Dataset)
        assert np.array_equal(weights[:], run.weights)
        assert [d[0].name for d in weights.dims] == ["/time", "/margin"]
    with xr.open_dataset(path, engine="h5netcdf") as data:  # all decoding on
        assert np.array_equal(data.log_t, run.log_t)
        assert set(data.coords) == {"tau", "log_t", "margin_sample"}
        assert data.attrs["loss"] == "CrossEntropy()"


def other_flow(**changes):
    flow, _ = problem("relu2")
    parts = {"loss": flow.loss, "x": flow.x, "y": flow.y} | changes
    return gflow.GradientFlow(**parts)


def mlp(*sizes, **options):
    return gflow.nn.MLP(*sizes, power=2, key=jr.key(0), **options)


def test_another_flow_is_refused(tmp_path):
    flow, network, _, path = saved("two classes", tmp_path)
    shifted = flow.x.at[3].add(1e-15)
    for other, message in (
        (other_flow(loss=gflow.Exponential()),
         r"`flow\.loss` must be Logistic\(\), as in the file, but is Exponential"),
        (other_flow(x=shifted), r"`flow\.x` must be that .* first in sample 3"),
        (other_flow(y=-flow.y), r"`flow\.y` must be that .* first in sample 0"),
        (other_flow(x=flow.x[:5], y=flow.y[:5]),
         r"`flow\.x` must have shape \(20, 10\), .* has shape \(5, 10\)"),
        (gflow.SteepestFlow(flow.loss, flow.x, flow.y, norm="l2"),
         r"`flow` must be GradientFlow\(.*\), as in the file, but is SteepestFlow"),
        (network, "`flow` must be the `gflow.GradientFlow`"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            gflow.load(path, other, network)


def test_another_network_is_refused(tmp_path):
    flow, _, _, path = saved("two classes", tmp_path)
    for other, message in (
        (
            mlp(10, (9,)),
            r"`network\.weights\[0\]` must have shape \(10, 10\), .* \(9, ",
        ),
        (mlp(10, (10, 10)), r"must have the weights .*\[1\]`, as .* but has .*\[2\]`"),
        (gflow.nn.MLP(10, (10,), power=3, key=jr.key(0)), "gives other margins"),
        (mlp(10, (10,), leak=0.1), "gives other margins"),
        (jnp.tanh, "but has none"),
    ):
        with pytest.raises(ValueError, match=message):
            gflow.load(path, flow, other)


def test_another_fixed_part_is_refused(tmp_path):
    flow, network, _, path = saved("more classes, a fixed part", tmp_path)
    other = Scaled(network.network, Fixed(jnp.array(3.0)))
    message = r"`network\.factor\.value` must be 2\.0, as in the file, but is 3\.0"
    with pytest.raises(ValueError, match=message):
        gflow.load(path, flow, other)
    with pytest.raises(ValueError, match=r"must have the weights `network\.network\."):
        gflow.load(path, flow, network.network)


def test_what_is_no_file_of_ours_is_refused(tmp_path):
    flow, network, _, path = saved("two classes", tmp_path)
    text, torn, other = (tmp_path / name for name in ("a.txt", "torn.nc", "other.nc"))
    text.write_text("log_t 1 2 3")
    torn.write_bytes(path.read_bytes()[:20_000])
    xr.Dataset({"log_t": ("time", [1.0])}).to_netcdf(other, engine="h5netcdf")
    for wrong, message in (
        (tmp_path / "none.nc", "does not exist"),
        (text, "is no netCDF file, or damaged"),
        (torn, "is no netCDF file, or damaged"),
        (other, "is a netCDF file of another origin"),
    ):
        with pytest.raises(ValueError, match=message):
            gflow.load(wrong, flow, network)


def test_a_place_that_cannot_hold_a_file_is_refused(tmp_path):
    run = curve("relu2")
    with pytest.raises(ValueError, match="`path` must lie in a directory"):
        run.save(tmp_path / "missing" / "run.nc")
    with pytest.raises(ValueError, match="`path` must be a file"):
        run.save(tmp_path)


@pytest.mark.parametrize("library", ["xarray", "h5netcdf", "h5py"])
def test_a_missing_library_is_named_with_its_extra(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    message = rf"needs `{library}`, which is not installed.*'\.\[netcdf\]'"
    with pytest.raises(ImportError, match=message):
        curve("relu2").to_xarray()
