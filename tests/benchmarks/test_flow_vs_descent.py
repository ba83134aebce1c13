import json

import numpy as np
import pytest

from benchmarks import flow_vs_descent


def test_the_smallest_case_reports_every_row_and_saves_its_figure(tmp_path, capsys):
    figure = tmp_path / "new" / "figure.png"
    rows = flow_vs_descent.main(
        samples=20, width=5, log_t=1e6, log10_end=30.0, more=3, figure=figure, json=True
    )
    assert figure.read_bytes().startswith(b"\x89PNG")
    printed, table = capsys.readouterr()
    lines = [json.loads(line) for line in printed.splitlines()]
    assert {"jax", "device", "step"} <= lines[0].keys()
    assert lines[1:] == rows
    names = [row["method"] for row in rows]
    assert all(name in table for name in names)

    part, whole, *descents = rows
    assert all(row["ok"] for row in rows)
    assert part["log_t"] == 1e6
    # Far out the log-loss is -log t, up to its logarithm.
    assert abs(part["log10_loss"] * np.log(10) / -1e6 - 1) < 1e-4
    assert whole["angle_degrees"] < 1e-6
    budget = part["gradients"]
    assert [row["gradients"] for row in descents] == 3 * [budget, 3 * budget]
    # The claim of the benchmark: for as many gradients descent is left behind.
    assert all(row["angle_degrees"] > part["angle_degrees"] for row in descents)
    fixed = [row for row in descents if row["method"] == flow_vs_descent.FIXED]
    assert [row["log_t"] for row in fixed] == pytest.approx(
        [np.log(lines[0]["step"] * row["gradients"]) for row in fixed]
    )
