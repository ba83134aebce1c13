"""The smallest case of `benchmarks/lost.py`."""

import json

import pytest

from benchmarks import lost


@pytest.mark.slow
def test_what_is_lost_keeps_its_loss_and_no_step_raises_it(capsys):
    rows = lost.main(networks=2)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[:-1] == rows
    assert lines[-1] == {"runs": 2, "ends": {"successful": 2}}
    assert all(row["lost"] > 0 and row["error"] < 1e-9 for row in rows)
    assert all(row["most_raised"] < 1e-3 for row in rows)
