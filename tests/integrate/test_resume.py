"""A solve that is stopped and resumed is, bit for bit, one that never stopped."""

import contextlib
import functools
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading

import equinox as eqx
import gflow
import jax
import numpy as np
import pytest
from curves import curve, problem, same
from gflow import _described
from gflow._integrate import _archive, _checkpoint


END = gflow.Until(log_t=1e4)


def resume(path, **options):
    return gflow.resume(path, *problem("relu2"), progress=False, **options)


def solve(**options):
    options = {"until": END, "progress": False} | options
    return gflow.solve(*problem("relu2"), **options)


@pytest.fixture(scope="module")
def whole():
    return solve()


class Interrupter(gflow.AbstractMeter):
    """Sends Ctrl-C's signal from another thread, at the first report."""

    def __init__(self):
        self.reports = []

    def update(self, report):
        self.reports.append(report)
        if len(self.reports) == 1:
            kill = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
            kill.start()
            kill.join()

    def close(self, message):
        pass


@pytest.mark.parametrize("max_steps", [1, 5, 13])
def test_a_solve_stopped_by_max_steps_goes_on(whole, tmp_path, max_steps):
    path = tmp_path / "run"
    part = solve(max_steps=max_steps, throw=False, checkpoint=path)
    assert part.result == gflow.RESULTS.out_of_steps
    assert part.stats["steps"] + part.stats["rejected"] == max_steps
    assert len(part.tau) == 1 + part.stats["steps"]
    assert np.array_equal(part.tau, whole.tau[: len(part.tau)])
    again = resume(path, max_steps=10_000)
    assert again.result == gflow.RESULTS.successful
    assert same(again, whole)


def test_ctrl_c_returns_what_was_computed(whole, tmp_path):
    path, meter = tmp_path / "run", Interrupter()
    before = signal.getsignal(signal.SIGINT)
    part = solve(checkpoint=path, progress=meter)
    assert signal.getsignal(signal.SIGINT) is before
    assert part.result == gflow.RESULTS.interrupted
    # No accepted step is lost.
    assert part.stats["steps"] == meter.reports[-1].steps > 0
    assert np.array_equal(part.log_t, whole.log_t[: 1 + part.stats["steps"]])
    assert same(resume(path), whole)


def test_ctrl_c_without_a_checkpoint_returns_too():
    part = solve(progress=Interrupter())
    assert part.result == gflow.RESULTS.interrupted
    assert len(part.tau) == 1 + part.stats["steps"]


SCRIPT = """
import pickle, sys
import jax
jax.config.update("jax_enable_x64", True)
import gflow
curve = gflow.resume(sys.argv[1], *gflow.problems.relu2(), progress=False)
arrays = (curve.tau, curve.log_t, curve.log_radius, curve.log_loss, curve.weights)
arrays += tuple(jax.tree.leaves((curve.direction, curve.steps)))
with open(sys.argv[2], "wb") as file:
    pickle.dump([jax.device_get(a) for a in arrays], file)
"""


def test_another_process_goes_on(whole, tmp_path):
    path, found = tmp_path / "run", tmp_path / "found"
    solve(progress=Interrupter(), checkpoint=path)
    root = str(pathlib.Path(gflow.__file__).parent.parent)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, path, found],
        env=os.environ | {"PYTHONPATH": root},
        check=True,
        timeout=120,
    )
    arrays = pickle.loads(found.read_bytes())
    expected = (
        *(whole.tau, whole.log_t, whole.log_radius, whole.log_loss, whole.weights),
        *jax.tree.leaves((whole.direction, whole.steps)),
    )
    assert len(arrays) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, expected, strict=True))


def test_a_later_end_is_the_same_curve(whole, tmp_path):
    path = tmp_path / "run"
    solve(until=gflow.Until(log_t=3.0), checkpoint=path)
    assert same(resume(path, until=END), whole)


def test_a_finished_solve_is_read_back(whole, tmp_path):
    path = tmp_path / "run"
    solve(checkpoint=path)
    content = path.read_bytes()
    assert same(resume(path), whole)
    assert abs(len(path.read_bytes()) - len(content)) < 100  # digits of seconds


def test_saved_times_survive(tmp_path):
    path, save = tmp_path / "run", gflow.SaveAt(log_t=np.array([-1.0, 2.0, 50.0, 1e3]))
    part = solve(save=save, max_steps=13, throw=False, checkpoint=path)
    assert len(part.tau) < 4
    again = resume(path, max_steps=10_000)
    assert same(again, solve(save=save))
    assert np.array_equal(again.log_t, [-1.0, 2.0, 50.0, 1e3])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "run"
    solve(until=gflow.Until(log_t=3.0), checkpoint=path)
    return path


def test_an_existing_file_is_not_overwritten(checkpoint):
    content = checkpoint.read_bytes()
    with pytest.raises(ValueError, match=r"`checkpoint` must be a new file.*resume"):
        solve(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == content


def test_the_directory_must_be_there(tmp_path):
    with pytest.raises(ValueError, match="`checkpoint` must lie in a directory"):
        solve(checkpoint=tmp_path / "none" / "run")


@pytest.mark.parametrize("kept", [0, 60, 1000, -1])
def test_a_truncated_checkpoint_is_refused(checkpoint, tmp_path, kept):
    path = tmp_path / "run"
    path.write_bytes(checkpoint.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"`path` must be a whole checkpoint"):
        resume(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.8, 0.97])
def test_a_changed_bit_is_noticed_or_of_no_matter(checkpoint, tmp_path, share):
    path, content = tmp_path / "run", bytearray(checkpoint.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        assert same(resume(path), resume(checkpoint))
        return
    with pytest.raises(ValueError, match="must be a whole checkpoint"):
        resume(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 something else", b"gflow"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"that `gflow\.solve` wrote, but .* is none"):
        resume(path)


def test_an_archive_of_another_origin_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, x=np.ones(3))
    with pytest.raises(ValueError, match=r"that `gflow\.solve` wrote"):
        resume(path)


def test_a_checkpoint_holds_no_objects_and_is_read_by_numpy(checkpoint):
    with np.load(checkpoint, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert all(array.dtype.kind in "fiubU" for array in arrays.values())
    assert np.array_equal(arrays["x"], problem("relu2")[0].x)


def test_a_file_of_another_format_names_both_versions(checkpoint, tmp_path):
    with np.load(checkpoint) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["about"])) | {"format": 7, "source": "gflow 0.0.7"}
    arrays["about"] = np.array(json.dumps(about))
    del arrays["digest"]
    path = tmp_path / "old"
    with path.open("wb") as file:
        np.savez(file, digest=np.array(_archive._digest(arrays)), **arrays)
    with pytest.raises(ValueError, match=r"which gflow .* reads, .* by gflow 0\.0\.7"):
        resume(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must be a checkpoint file, .* exist"):
        resume(tmp_path / "none")


def test_another_flow_is_refused(checkpoint):
    flow, network = problem("relu2, exponential")
    with pytest.raises(ValueError, match=r"`flow\.loss` must be Logistic"):
        gflow.resume(checkpoint, flow, network)
    flow, network = problem("relu2")
    other = gflow.GradientFlow(flow.loss, 2 * flow.x, flow.y)
    with pytest.raises(ValueError, match=r"`flow\.x` must be that of the file"):
        gflow.resume(checkpoint, other, network)


def test_another_network_is_refused(checkpoint):
    flow, network = problem("relu2")
    twice = jax.tree.map(lambda leaf: 2 * leaf, network)
    with pytest.raises(ValueError, match="the weights that the solve started from"):
        gflow.resume(checkpoint, flow, twice)
    cubed = gflow.nn.MLP.from_weights(network.weights, power=3)
    with pytest.raises(ValueError, match="gives other margins"):
        gflow.resume(checkpoint, flow, cubed)


class Layers(eqx.Module):
    """A network of this file's own: no program but this one knows its class."""

    first: jax.Array
    last: jax.Array

    def __call__(self, x):
        return self.last @ jax.nn.relu(self.first @ x) ** 2


def test_classes_of_a_script_clocks_and_solvers_of_ones_own_go_on(tmp_path):
    flow, network = problem("relu2")
    network, path = Layers(*network.weights), tmp_path / "run"
    options: Any = {
        "clock": Halves(2.0),
        "solver": gflow.solvers.SampleSpaceKvaerno3(),
        "progress": False,
    }
    solve = functools.partial(gflow.solve, flow, network, until=END, **options)
    solve(checkpoint=path, max_steps=9, throw=False)
    for name, message in (("clock", "`clock` must be Halves"), ("solver", "`solver`")):
        wrong = {k: v for k, v in options.items() if k != name}
        with pytest.raises(ValueError, match=message):
            gflow.resume(path, flow, network, max_steps=10_000, **wrong)
    found = gflow.resume(path, flow, network, max_steps=10_000, **options)
    assert same(found, solve())


class Halves(gflow.clocks.AbstractRateClock):
    """The polar clock, slower."""

    by: float

    def log_rate(self, speeds):
        return 0.0 * speeds.log_radius - np.log(self.by)


@pytest.mark.skipif(os.geteuid() == 0, reason="The superuser may write anywhere.")
def test_a_directory_that_refuses_is_found_at_the_start(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="`checkpoint` must be a file that can be"):
        solve(checkpoint=tmp_path / "run")


class Nested(gflow.norms.AbstractNorm):
    """The Euclidean norm with a price for each weight, in a part of its own."""

    inner: eqx.Module

    def __call__(self, vector):
        return jax.numpy.sqrt(jax.numpy.sum(self.inner.scale * vector**2))

    def direction(self, pull):
        return pull / self.inner.scale


class Prices(eqx.Module):
    scale: jax.Array


def test_a_flow_that_differs_deep_inside_is_another(tmp_path):
    flow, network = problem("relu2")
    size = sum(w.size for w in network.weights)

    def steepest(last):
        prices = jax.numpy.ones(size).at[-1].set(last)
        return gflow.SteepestFlow(
            flow.loss, flow.x, flow.y, norm=Nested(Prices(prices))
        )

    path, until = tmp_path / "run", gflow.Until(log_t=1.0)
    gflow.solve(
        steepest(2.0), network, until=until, checkpoint=path, progress=False,
        max_steps=2, throw=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"`flow` must be SteepestFlow\(.*#.*but is"):
        gflow.resume(path, steepest(3.0), network, progress=False)
    again = gflow.resume(path, steepest(2.0), network, progress=False, max_steps=500)
    assert again.result == gflow.RESULTS.successful


def test_others_may_read_a_checkpoint_as_any_file(tmp_path):
    (tmp_path / "plain").write_text("")
    solve(checkpoint=tmp_path / "run", max_steps=1, throw=False)
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "run")}
    assert len(modes) == 1


def test_a_disk_that_refuses_is_found_at_the_start(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_archive.np, "savez", full)
    with pytest.raises(ValueError, match=r"that can be written, .* No space left"):
        solve(checkpoint=tmp_path / "run")


def test_a_write_that_fails_on_the_way_loses_nothing(whole, tmp_path, monkeypatch):
    path, write, calls = tmp_path / "run", _checkpoint.write, []

    def once(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(_checkpoint, "write", once)
    with pytest.warns(RuntimeWarning, match="could not be written"):
        found = solve(checkpoint=path)
    assert same(found, whole)
    monkeypatch.undo()
    assert same(resume(path), whole)  # from the start


KILLED = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import gflow
from gflow._integrate import _drive
_drive.FIRST_CHECKPOINT_SECONDS = _drive.CHECKPOINT_SECONDS = 0.0
_drive.CHUNK_STEPS = 8
flow, network = gflow.problems.relu2()
class Tell(gflow.AbstractMeter):
    def update(self, report): print("step", flush=True)
    def close(self, message): pass
until = gflow.Until(log_t=1e4)
gflow.solve(flow, network, until=until, checkpoint=sys.argv[1], progress=Tell())
print("end", flush=True)
"""


@pytest.mark.parametrize("after", [1, 3])
def test_kill_9_at_any_moment_leaves_a_whole_checkpoint(whole, tmp_path, after):
    path = tmp_path / "run"
    root = str(pathlib.Path(gflow.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, path],
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        lines = [process.stdout.readline() for _ in range(after)]
        process.kill()
    assert lines == ["step\n"] * after
    assert same(resume(path), whole)


def test_an_earlier_end_is_refused(checkpoint):
    with pytest.raises(ValueError, match=r"`until\.log_t` must lie ahead"):
        resume(checkpoint, until=gflow.Until(log_t=1.0))


def test_max_steps_must_be_positive(checkpoint):
    with pytest.raises(ValueError, match="`max_steps` must be a positive number"):
        resume(checkpoint, max_steps=0)


def test_a_long_run_is_its_own_beginning(whole):
    assert np.array_equal(curve("relu2").tau[: len(whole.tau) - 1], whole.tau[:-1])


@pytest.mark.parametrize("fitted", [True, False])
def test_margins_that_cancel_are_those_of_the_solve(tmp_path, fitted, monkeypatch):
    """Residuals of targets that are met, and outputs of twins, are rounding alone."""
    random = np.random.default_rng(4)
    x = random.normal(size=(6, 9))
    network = gflow.nn.MLP(9, (5,), power=2, key=jax.random.key(2))
    flow = gflow.GradientFlow(gflow.Square(), x, random.normal(size=6))
    until, options = gflow.Until(log_t=20.0), {"progress": False}
    if not fitted:
        first, last = network.weights
        twins = [np.concatenate([first, first]), np.concatenate([last, -last])]
        network = gflow.nn.MLP.from_weights(twins, power=2)
        flow = gflow.GradientFlow(gflow.Logistic(), x, np.ones(6))
        until = gflow.Until(log_t=-60.0)  # it has hardly moved
    path = tmp_path / "run"
    curve = gflow.solve(flow, network, until=until, checkpoint=path, **options)
    assert float(np.max(np.abs(curve[-1].margins))) < 1e-9
    later = gflow.Until(log_t=until.log_t + 1)
    again = gflow.resume(path, flow, network, until=later, **options)
    assert abs(float(again.log_t[-1]) - later.log_t) < 1e-9
    curve.save(tmp_path / "curve.nc")
    loaded = gflow.load(tmp_path / "curve.nc", flow, network)
    assert np.array_equal(loaded.log_t, curve.log_t)
    if not fitted:  # twins cancel whatever their activation
        return
    for least in (1e-11, 1e-7):  # how near margins must be is of no matter
        monkeypatch.setattr(_described, "SAME", least)
        gflow.resume(path, flow, network, until=later, **options)
    other = gflow.nn.MLP.from_weights(network.weights, power=2, leak=0.3)
    with pytest.raises(ValueError, match="gives other margins"):
        gflow.resume(path, flow, other, **options)
    with pytest.raises(ValueError, match="gives other margins"):
        gflow.load(tmp_path / "curve.nc", flow, other)
