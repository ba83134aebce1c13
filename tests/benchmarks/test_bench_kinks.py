"""The smallest case of `benchmarks/kinks.py`."""

import json

import pytest

from benchmarks import kinks


@pytest.mark.slow
def test_the_shortest_subgradient_shows_what_a_one_sided_one_hides(tmp_path):
    start, row = kinks.main(15, tmp_path / "kinks.png", scales=(1e-8,))
    assert start["ok"]
    assert start["missed"] == []
    assert start["error"] < 2e-5
    assert row["ok"]
    assert row["sliding"] > 0
    assert row["best"] <= row["min_norm"] * (1 + 1e-9)
    assert row["min_norm"] < 0.2 * row["jax"]
    assert row["missed"] == []
    assert (tmp_path / "kinks.png").stat().st_size > 0
    assert json.loads(json.dumps(row, allow_nan=False)) == row
