"""The smallest case of `benchmarks/widths.py`."""

import json

from benchmarks import widths


def test_a_wide_kink_is_followed_and_the_margin_does_not_fall():
    (row,) = widths.main((1e-3,))
    assert row["ok"]
    assert row["smallest_increase"] >= -1e-15
    assert json.loads(json.dumps(row, allow_nan=False)) == row
