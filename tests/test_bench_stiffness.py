"""The smallest case of `benchmarks/stiffness.py`."""

import json

from benchmarks import stiffness


def test_rows_compare_with_other_methods():
    rows = stiffness.main(width=4, log_t=2.0, repeats=1)
    assert [row["other"] for row in rows] == ["Tsit5", "LSODA"]
    for row in rows:
        assert row["result"] == "successful"
        assert row["ratio"] > 0
        assert json.loads(json.dumps(row, allow_nan=False)) == row
