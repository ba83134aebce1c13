"""The smallest case of `benchmarks/relus.py`."""

import json

import pytest

from benchmarks import relus


@pytest.mark.slow
def test_hundreds_of_kinks_pass_and_the_error_is_in_the_row():
    (row,) = relus.main(widths=(16,), images=(), log10_scale=2.0)
    assert row["ok"]
    assert row["events"] > row["steps"]
    assert row["error"] < row["targets"]["error"]
    assert row["missed"] == []
    assert json.loads(json.dumps(row, allow_nan=False)) == row
