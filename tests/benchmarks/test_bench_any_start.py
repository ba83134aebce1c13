"""The smallest cases of `benchmarks/any_start.py`."""

import json

import pytest

from benchmarks import any_start


@pytest.mark.parametrize("rotated", [False, True])
def test_half_learning_times_are_in_the_row(rotated, capsys):
    row = any_start.modes(2, 1e-3, (3.0, 1.2), rotated=rotated)
    assert json.loads(capsys.readouterr().out) == row
    assert row["ok"]
    assert not row["unwatched"]
    assert row["missed"] == []
    assert 0 < row["error"] < 50


def test_a_mode_that_is_lost_among_many_weights_is_known_to_be():
    row = any_start.modes(2, 1e-12, (3.0, 1.2), rotated=True, width=18)
    assert row["result"] == "unresolved"
    assert not row["unwatched"]
    assert row["missed"] == []
