"""The smallest case of `benchmarks/robustness.py`."""

import json

import gflow
import numpy as np
import pytest

from benchmarks import robustness


@pytest.mark.slow
def test_a_random_run_ends_truly(capsys):
    rows = robustness.main(structures=1, draws=2, max_steps=400)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[:-1] == rows
    assert lines[-1]["runs"] == 2
    assert all(row["true"] is not False for row in rows)


@pytest.mark.slow
def test_a_flow_that_goes_on_confirms_no_end_and_one_at_rest_does():
    # Two opposite labels on one point: the flow comes to rest where f is 0.
    x = np.ones((2, 1))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.array([1.0, -1.0]))
    network = gflow.nn.DeepLinear.from_weights([2 * np.ones((2, 1)), np.ones(2)])
    until = gflow.Until(log_margin_scale=50.0)
    ends = []
    for max_steps in (3, 1000):
        curve = gflow.solve(
            flow, network, until=until, max_steps=max_steps, throw=False, progress=False
        )
        ends.append(robustness.goes_on(flow, curve))
    assert curve.result == gflow.RESULTS.critical_point
    assert not robustness.confirmed("critical_point", ends[0])
    assert robustness.confirmed("critical_point", ends[1])
    assert robustness.confirmed("critical_point", {"reached": False}) is None
