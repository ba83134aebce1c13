"""The smallest case of `benchmarks/robustness.py`."""

import json

from benchmarks import robustness


def test_a_random_run_ends_truly(capsys):
    rows = robustness.main(structures=1, draws=2, max_steps=400)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[:-1] == rows
    assert lines[-1]["runs"] == 2
    assert all(row["true"] for row in rows)
