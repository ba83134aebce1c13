"""The smallest case of `benchmarks/shapes.py`."""

import json

from benchmarks import shapes


def test_many_samples_are_followed_as_accurately_as_asked():
    (row,) = shapes.main(sizes=(150,), powers=("square",), repeats=1)
    assert row["ok"]
    assert row["error"] <= 100 * shapes.RTOL
    assert row["best"] in shapes.METHODS
    assert row["all_errors"][row["best"]] <= max(row["error"], 1e-6)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
