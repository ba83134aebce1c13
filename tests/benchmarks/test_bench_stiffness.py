"""The smallest case of `benchmarks/stiffness.py`."""

import json

import pytest

from benchmarks import stiffness


@pytest.mark.slow
def test_rows_compare_with_other_methods():
    *rows, far = stiffness.main(width=4, log_t=2.0, ends=(60.0,), repeats=1)
    assert [row["other"] for row in rows] == ["Tsit5", "LSODA"]
    assert all(row["ratio"] > 0 for row in rows)
    assert 0 < far["lacks_times_log_t"] < 2
    assert far["verdict"] == "local maximum"
    assert far["limit_error"] < 1e-8  # what `ROUNDED` asks
    for row in (*rows, far):
        assert row["result"] == "successful"
        assert json.loads(json.dumps(row, allow_nan=False)) == row
