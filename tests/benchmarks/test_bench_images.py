"""The smallest case of `benchmarks/images.py`."""

import json

import pytest

from benchmarks import images


@pytest.mark.slow
def test_a_convolutional_network_is_followed_past_the_fit(tmp_path):
    (row,) = images.main(6, (2,), 6, 1e-3, 1e3, tmp_path / "images.png", classes=3)
    assert row["ok"]
    assert row["log_t"] >= 1e3
    assert row["normalized_margin"] > 0
    assert row["weights"] == 2 * 9 + 6 * 2 * 16 + 3 * 6
    # The smoothed margin never falls, but for the tolerance, which is of the largest.
    assert row["smallest_increase"] >= -row["rtol"] * row["spread"]
    assert row["missed"] == []
    assert (tmp_path / "images.png").stat().st_size > 0
    assert json.loads(json.dumps(row, allow_nan=False)) == row
