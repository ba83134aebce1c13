"""Many flows: in threads, in processes, over a cluster; stopped, broken, and again."""

import concurrent.futures as cf
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import gflow
import jax
import numpy as np
import pytest
import xarray as xr
from gflow._code import fingerprint


END = gflow.Until(log_t=3.0)
SEEDS = list(range(5))


def made(seed, scale=1.0, samples=6):
    x, y = gflow.data.separable(samples, 3, shift=0.2, seed=0)
    network = gflow.nn.DeepLinear(3, (2,), key=jax.random.key(seed))
    network = jax.tree.map(lambda w: scale * w, network)
    return gflow.GradientFlow(gflow.Logistic(), x, y), network


def sweep(make=made, over=None, **options):
    over = {"seed": SEEDS} if over is None else over
    return gflow.sweep(make, over, until=END, **{"progress": False} | options)


def margins(curve):
    return {"margins": curve[-1].margins, "steps": curve.stats["steps"]}


@pytest.fixture(scope="module")
def whole():
    return sweep()


def test_members_are_what_solve_gives(whole):
    assert whole.sizes == {"seed": len(SEEDS)}
    assert set(whole.result.values) == {"successful"}
    for seed in SEEDS:
        curve = gflow.solve(*made(seed), until=END, progress=False)
        here = whole.sel(seed=seed)
        assert float(here.log_loss) == float(curve.log_loss[-1])
        assert float(here.log_radius) == float(curve.log_radius[-1])
        normalized = float(np.min(gflow.margins.normalized(curve[-1])))
        assert abs(float(here.margin) - normalized) <= 1e-12


def test_axes_become_dimensions_and_arrays_keep_their_shape():
    over = {"seed": [3, 4], "scale": np.array([0.1, 1.0, 2.0])}
    found = sweep(over=over, record=margins)
    assert found.margins.dims == ("seed", "scale", "margins_1")
    assert found.margins.shape == (2, 3, 6)
    assert np.array_equal(found.scale, [0.1, 1.0, 2.0])
    curve = gflow.solve(*made(4, 0.1), until=END, progress=False)
    there = found.sel(seed=4, scale=0.1)
    assert np.array_equal(there.margins, curve[-1].margins)


def test_a_member_that_fails_does_not_sink_the_rest(whole, tmp_path):
    path, broken, calls = tmp_path / "sweep.nc", [True], []

    def make(seed):
        calls.append(seed)
        if seed == 2 and broken[0]:
            raise RuntimeError("no such seed")
        return made(seed)

    found = sweep(make, path=path)
    assert found.result.values.tolist() == [
        "failed" if seed == 2 else "successful" for seed in SEEDS
    ]
    assert str(found.message.values[2]) == "RuntimeError: no such seed"
    assert np.isnan(found.log_loss.values[2])
    # What is in the file is not computed anew; what failed only if asked for.
    calls.clear()
    again = sweep(make, path=path)
    assert calls == []
    xr.testing.assert_identical(again.drop_attrs(), found.drop_attrs())
    broken[0] = False
    mended = sweep(make, path=path, retry=True)
    assert calls == [2]
    assert np.array_equal(mended.log_loss, whole.log_loss)


def test_members_that_end_early_say_so():
    found = sweep(max_steps=3)
    assert set(found.result.values) == {"out_of_steps"}
    assert np.all(found.log_t.values < 3.0)


def test_a_file_of_another_sweep_is_refused(tmp_path):
    path = tmp_path / "sweep.nc"
    sweep(path=path)
    with pytest.raises(ValueError, match="axes"):
        sweep(over={"seed": [1, 2]}, path=path)
    with pytest.raises(ValueError, match="asked"):
        sweep(path=path, rtol=1e-4)
    with pytest.raises(ValueError, match="another `record`: its code has changed"):
        sweep(path=path, record=margins)
    with pytest.raises(ValueError, match="another `make`"):
        sweep(lambda seed: made(seed, scale=2.0), path=path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        sweep(path=path)


def test_what_members_record_has_one_shape():
    found = sweep(over={"seed": [0], "samples": [6, 7, 8]}, record=margins)
    assert found.result.values[0].tolist().count("failed") == 2
    assert "one shape" in "".join(found.message.values[0])
    assert "must not name" in str(sweep(record=lambda _: {"seed": 1}).message.values[0])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"over": {}}, "`over` must be a dictionary"),
        ({"over": {"seed": 3}}, "must be a list of values"),
        ({"over": {"seed": []}}, "at least one"),
        ({"make": 3}, "`make` must be a function"),
        ({"executor": 2}, r"concurrent\.futures\.Executor"),
        ({"throw": True}, "cannot be an option"),
        ({"rtoll": 1e-3}, "`rtoll` must be an option of"),
        ({"over": {"sead": [1]}}, "`make` must take the axes sead by name"),
        ({"over": {"result": [1]}}, "must not name an axis 'result'"),
        ({"over": {"a/b": [1]}}, "`over` must name its axes as `make` names"),
        ({"over": {"seed": np.ones((2, 2))}}, "must be a list of values"),
        ({"path": "/no/such/directory/x.nc"}, "must lie in a directory"),
    ],
)
def test_bad_input_is_refused(options, match):
    with pytest.raises(ValueError, match="`until` must be a"):
        gflow.sweep(made, {"seed": SEEDS}, until=3.0)
    with pytest.raises(ValueError, match=match):
        sweep(**options)


def level(height):
    return lambda point: point.log_radius - height


def test_functions_of_one_name_are_told_apart_by_their_code():
    def scaled(by):
        def make(seed):
            return made(seed, scale=by)

        return make

    def again(by):
        # A comment changes nothing.
        def make(seed):
            return made(seed, scale=by)

        return make

    assert fingerprint(scaled(2.0)) == fingerprint(scaled(2.0))
    assert fingerprint(scaled(2.0)).split()[1] == fingerprint(again(2.0)).split()[1]
    assert fingerprint(scaled(2.0)) != fingerprint(scaled(3.0))
    assert fingerprint(level(0.5)) != fingerprint(level(0.9))
    assert fingerprint(lambda p: p.log_t) != fingerprint(lambda p: p.log_loss)
    parts = (functools.partial(made, scale=s) for s in (1.0, 1.0, 2.0))
    first, same, other = map(fingerprint, parts)
    assert first == same != other
    objects = (Caller(1.0), Caller(1.0), Caller(2.0), Other(1.0))
    first, same, *others = map(fingerprint, objects)
    assert first == same
    assert first not in others
    methods = (Caller(s).__call__ for s in (1.0, 1.0, 2.0))
    first, same, other = map(fingerprint, methods)
    assert first == same != other


def test_fingerprints_do_not_depend_on_the_process():
    code = (
        "from gflow._code import fingerprint\n"
        "def make(name):\n"
        "    'A docstring.'\n"
        "    return name in {'relu', 'gelu', 'silu'}\n"
        "print(fingerprint(make))"
    )
    found = set()
    for seed in "123":
        env = os.environ | {"PYTHONHASHSEED": seed}
        run = [sys.executable, "-c", code.replace("docstring", "docstring" * int(seed))]
        found.add(subprocess.check_output(run, env=env))
    assert len(found) == 1


class Caller:
    """A function that is an object."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, seed):
        return made(seed, self.scale)


class Other(Caller):
    """Another one."""

    def __call__(self, seed):
        return made(seed + 1, self.scale)


def test_a_record_of_nothing_says_so():
    found = sweep(record=lambda curve: None)
    assert "`record` must return a dictionary" in str(found.message.values[0])


@pytest.mark.usefixtures("heard")
def test_ctrl_c_returns_what_is_known(tmp_path):
    path, main = tmp_path / "sweep.nc", threading.get_ident()

    def make(seed):
        if seed == 1:  # the first in a thread
            signal.pthread_kill(main, signal.SIGINT)
        if seed > 0:
            time.sleep(0.5)
        return made(seed)

    found = sweep(make, over={"seed": range(30)}, path=path)
    known = [result != "" for result in found.result.values]
    assert known[0]
    assert sum(known) < 30
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        assert np.array_equal(stored.result != "", known)


def dies(seed):
    """A member that kills its process, the first time that it is asked for."""
    marker = Path(os.environ["GFLOW_TEST_MARKER"])
    if seed == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return made(seed)


def test_a_process_that_dies_is_an_error_and_the_sweep_goes_on_later(
    whole, tmp_path, monkeypatch
):
    monkeypatch.setenv("GFLOW_TEST_MARKER", str(tmp_path / "marker"))
    path, spawn = tmp_path / "sweep.nc", multiprocessing.get_context("spawn")
    with (
        cf.ProcessPoolExecutor(1, mp_context=spawn) as pool,
        pytest.raises(cf.BrokenExecutor),
    ):
        sweep(dies, path=path, executor=pool)
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        assert stored.result.values.tolist() == ["successful"] * 3 + ["", ""]
    with cf.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        found = sweep(dies, path=path, executor=pool)
    assert np.array_equal(found.log_loss, whole.log_loss)
