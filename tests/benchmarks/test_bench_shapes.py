"""The smallest case of `benchmarks/shapes.py`."""

import json

from benchmarks import shapes


def test_gflow_is_measured_beside_others_that_are_as_accurate():
    (row,) = shapes.main(samples=(20,), weights=(20,), turns=(0,), repeats=1)
    assert row["result"] == "successful"
    assert row["error"] <= 100 * shapes.RTOL
    assert row["method"] in shapes.methods_for(20)
    assert row["other_error"] <= max(row["error"], shapes.RTOL)
    assert row["ratio"] > 0
    assert json.loads(json.dumps(row, allow_nan=False)) == row
