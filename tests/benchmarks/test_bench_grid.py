"""The smallest case of `benchmarks/grid.py`."""

import json

from benchmarks import grid


def test_gflow_is_measured_beside_others_that_are_as_accurate():
    (row,) = grid.main(samples=(20,), weights=(20,), turns=(0,), repeats=1)
    assert row["result"] == "successful"
    assert row["error"] <= 100 * grid.RTOL
    assert row["method"] in grid.methods_for(20)
    assert row["other_error"] <= max(row["error"], grid.RTOL)
    assert row["ratio"] > 0
    assert json.loads(json.dumps(row, allow_nan=False)) == row
