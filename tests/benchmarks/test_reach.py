import json

import gflow
import jax
import numpy as np
import pytest

from benchmarks import first_call, reach


@pytest.fixture(scope="module")
def rows():
    return reach.main(["toy"], repeats=1, pairs=0)


def test_the_toy_problem_ends_at_its_exact_limit(rows):
    row = rows[0]
    assert row["ok"]
    assert row["error"] < 2e-9
    assert row["log10_scale"] == pytest.approx(43, rel=1e-12)


def test_gflow_and_scipy_meet_where_both_still_run(rows):
    # Two solvers of two forms of one flow; errors in units of the tolerance.
    short = [row for row in rows if "log t = 1e5" in row["case"]]
    assert len(short) == 4
    for row in short:
        assert row["ok"]
        assert row["direction_error"] < 50e-6


def test_every_row_states_error_work_and_success_and_is_json(rows):
    for row in rows:
        assert {"case", "ok", "result", "seconds", "cpu_seconds"} <= row.keys()
        assert {"error", "direction_error"} & row.keys()
        assert {"gradients", "field_calls"} & row.keys()
        assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_missed_targets_are_named():
    row = reach._bench.judged({"steps": 83, "error": 1e-9}, steps=80, error=2e-9)
    assert row["missed"] == ["steps"]
    unknown = reach._bench.judged({"error": float("nan")}, error=2e-9)
    assert unknown["missed"] == ["error"]


def test_the_first_calls_follow_one_flow():
    curve, stock = first_call.gflow_call()(), first_call.stock_call()()
    assert stock.ts is not None
    assert stock.ys is not None
    end = curve.at(tau=float(stock.ts[-1]))
    direction = np.concatenate(
        [leaf.ravel() for leaf in jax.tree.leaves(end.direction)]
    )
    state = np.append(direction, end.log_radius)
    assert curve.result == gflow.RESULTS.successful
    assert np.linalg.norm(state - stock.ys[-1]) < 20 * first_call.RTOL
