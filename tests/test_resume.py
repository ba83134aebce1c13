"""A solve that is stopped and resumed is, bit for bit, one that never stopped."""

import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
from typing import Any

import gflow
import jax
import numpy as np
import pytest
from curves import curve, problem, same


END = gflow.Until(log_t=1e4)


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
    again = gflow.resume(path, max_steps=10_000, progress=False)
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
    assert same(gflow.resume(path, progress=False), whole)


def test_ctrl_c_without_a_checkpoint_returns_too():
    part = solve(progress=Interrupter())
    assert part.result == gflow.RESULTS.interrupted
    assert len(part.tau) == 1 + part.stats["steps"]


SCRIPT = """
import pickle, sys
import jax
jax.config.update("jax_enable_x64", True)
import gflow
curve = gflow.resume(sys.argv[1], progress=False)
arrays = (curve.tau, curve.log_t, curve.log_radius, curve.log_loss, curve.weights)
arrays += tuple(jax.tree.leaves((curve.direction, curve.steps)))
with open(sys.argv[2], "wb") as file:
    pickle.dump([jax.device_get(a) for a in arrays], file)
"""


def test_another_process_goes_on(whole, tmp_path):
    path, found = tmp_path / "run", tmp_path / "found"
    solve(progress=Interrupter(), checkpoint=path)
    root = str(pathlib.Path(gflow.__file__).parent.parent)
    config: Any = jax.config
    cache = config.jax_compilation_cache_dir or str(tmp_path)
    subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, path, found],
        env=os.environ | {"PYTHONPATH": root, "JAX_COMPILATION_CACHE_DIR": cache},
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
    assert same(gflow.resume(path, until=END, progress=False), whole)


def test_a_finished_solve_is_read_back(whole, tmp_path):
    path = tmp_path / "run"
    solve(checkpoint=path)
    content = path.read_bytes()
    flow, _ = problem("relu2")
    assert same(gflow.resume(path, flow=flow, progress=False), whole)
    assert same(gflow.resume(path, progress=False), whole)
    assert path.read_bytes()[:19] == content[:19]


def test_saved_times_survive(tmp_path):
    path, save = tmp_path / "run", gflow.SaveAt(log_t=np.array([-1.0, 2.0, 50.0, 1e3]))
    part = solve(save=save, max_steps=13, throw=False, checkpoint=path)
    assert len(part.tau) < 4
    again = gflow.resume(path, max_steps=10_000, progress=False)
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


@pytest.mark.parametrize("kept", [60, 1000, -1])
def test_a_truncated_checkpoint_is_refused(checkpoint, tmp_path, kept):
    path = tmp_path / "run"
    path.write_bytes(checkpoint.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"whole checkpoint, but .* is truncated"):
        gflow.resume(path)


def test_a_changed_byte_is_noticed(checkpoint, tmp_path):
    path, content = tmp_path / "run", bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"whole checkpoint, but .* is truncated or"):
        gflow.resume(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 something else", b"gflow"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"that `gflow\.solve` wrote, but .* does not"):
        gflow.resume(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must be a checkpoint file, .* exist"):
        gflow.resume(tmp_path / "none")


def test_another_flow_is_refused(checkpoint):
    flow, _ = problem("relu2, exponential")
    with pytest.raises(ValueError, match="of another problem: Logistic on data"):
        gflow.resume(checkpoint, flow=flow)
    flow, _ = problem("relu2")
    other = gflow.GradientFlow(flow.loss, 2 * flow.x, flow.y)
    with pytest.raises(ValueError, match="`path` must be a checkpoint of `flow`"):
        gflow.resume(checkpoint, flow=other)


def test_an_earlier_end_is_refused(checkpoint):
    with pytest.raises(ValueError, match=r"`until\.log_t` must lie ahead"):
        gflow.resume(checkpoint, until=gflow.Until(log_t=1.0))


def test_max_steps_must_be_positive(checkpoint):
    with pytest.raises(ValueError, match="`max_steps` must be a positive number"):
        gflow.resume(checkpoint, max_steps=0)


def test_a_long_run_is_its_own_beginning(whole):
    assert np.array_equal(curve("relu2").tau[: len(whole.tau) - 1], whole.tau[:-1])
