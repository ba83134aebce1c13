"""The smallest case of `benchmarks/orthogonal.py`."""

import json

import pytest

from benchmarks import orthogonal


@pytest.mark.slow
def test_half_fitting_times_are_those_of_an_event_driven_reference():
    (row,) = orthogonal.main(scales=(1e-6,))
    assert row["missed"] == []
    assert len(row["expected"]) == 2  # else nothing is shown
    assert row["events"] > 10
    assert 0 <= row["norm_gap"] < 0.1
    assert json.loads(json.dumps(row, allow_nan=False)) == row
