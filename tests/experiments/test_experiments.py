"""Experiments hold, at settings that nobody chose for them too, and say when not."""

import dataclasses
import functools
import inspect
import math
import os
import subprocess
import sys

import gflow
import numpy as np
import pytest
from gflow import experiments
from gflow.experiments import Row
from gflow.experiments.__main__ import main
from tiers import but_slow


# At what it should be cheap, and at another setting that shares its compiled programs.
SETTINGS = {
    "directional_convergence": ({}, {"angle": 0.43, "log_growth": 17.0}),
    "early_alignment": ({}, {"seed": 11, "scale": 3e-60}),
    "half_learning_times": (
        {"depth": 2},
        {"depth": 2, "scale": 7e-71, "singular_values": (3.1, 2.9, 0.4, 0.9)},
    ),
    "kernel_to_rich": ({"scales": [1e-30, 10.0]}, {"scales": [2e-5, 0.6], "seed": 7}),
    "layer_alignment": ({"depth": 2}, {"depth": 2, "seed": 13, "scale": 4e-40}),
    "low_rank": ({}, {"seed": 17, "scale": 2.0}),
    "margin_growth": ({}, {"seed": 19, "scale": 0.03}),
    "margin_rate": ({}, {"seed": 23, "clearance": 1.3, "scale": 1.0}),
    "mexican_hat": ({"log_radius": 1e3}, {"log_radius": 2e4, "psi": 1.7}),
    "steepest_margin": ({}, {"seed": 29, "smoothing": 3e-3}),
}


LONG = (
    "early_alignment",
    "layer_alignment",
    "low_rank",
    "margin_growth",
    "mexican_hat",
)
each_experiment = pytest.mark.parametrize("name", but_slow(SETTINGS, *LONG))


@functools.cache
def cheap(name):
    return getattr(experiments, name)(**SETTINGS[name][0])


def test_each_experiment_is_tested_and_on_the_page():
    names = {name for name, _ in inspect.getmembers(experiments, inspect.isfunction)}
    assert names == {*SETTINGS}
    for name in names:
        assert f"    {name} " in str(experiments.__doc__)


@each_experiment
def test_experiments_hold(name):
    found = cheap(name)
    assert found.holds, found
    assert found.name == name
    assert all(np.isfinite(row.measured) for row in found.rows)
    assert found.curve.result == gflow.RESULTS.successful
    other = getattr(experiments, name)(**SETTINGS[name][1])
    assert other.holds, other


@each_experiment
def test_what_an_experiment_predicts_can_fail(name):
    """Each row fails where what is measured is 2 % off, or past a bound."""
    found = cheap(name)
    for k, row in enumerate(found.rows):
        unit = (abs(row.predicted) or 1.0) if row.unit is None else row.unit
        miss = (-0.02 if row.relation == ">=" else 0.02) * unit
        off = dataclasses.replace(row, measured=row.predicted + miss)
        wrong = dataclasses.replace(
            found, rows=(*found.rows[:k], off, *found.rows[k + 1 :])
        )
        assert not wrong.holds, row
        assert "DOES NOT HOLD" in repr(wrong)
        assert "FAILS" in repr(wrong)


@pytest.mark.parametrize("name", ["half_learning_times", "margin_rate"])
def test_a_flow_that_ends_early_shows_nothing(name):
    found = getattr(experiments, name)(**SETTINGS[name][0], max_steps=3)
    assert not found.holds
    assert not found.reached
    assert any(math.isnan(row.measured) for row in found.rows)
    text = repr(found)
    assert f"{name}: not shown, a flow ended early" in text
    assert "Raise `max_steps`" in text


def test_a_finding_is_a_table_that_fits_the_page():
    text = repr(cheap("half_learning_times"))
    title, *lines = text.splitlines()
    assert title == "half_learning_times: holds"
    assert "Saxe, McClelland and Ganguli (2014)" in text
    assert "s = 4: half-learned at t" in text
    assert "ended successful at log t = " in text
    assert max(map(len, lines)) <= 88
    assert len(lines) <= 14


def test_bounds_have_one_side_and_nan_never_holds():
    assert Row("q", 2.0, 1.0, 0.0, "<=").holds
    assert not Row("q", 2.0, 2.1, 0.01, "<=").holds
    assert Row("q", 2.0, 2.1, 0.05001, "<=").error == pytest.approx(0.05)
    assert Row("q", 2.0, 3.0, 0.0, ">=").holds
    assert not Row("q", 2.0, math.nan, math.inf).holds
    assert Row("q", 0.0, -1e-3, 1e-2).error == pytest.approx(1e-3)
    assert Row("q", 5.0, 6.0, 0.0, unit=10.0).error == pytest.approx(0.1)


BAD = [
    ("half_learning_times", {"depth": 1}, "`depth` must be at least 2, but is 1"),
    ("half_learning_times", {"depth": 2.5}, "`depth` must be an integer"),
    ("half_learning_times", {"scale": 0.0}, "`scale` must .* from 1e-100 to 0.3"),
    ("half_learning_times", {"singular_values": 3.0}, "must be a sequence of numbers"),
    (
        "half_learning_times",
        {"depth": 2, "scale": 0.3, "singular_values": [0.1]},
        "`scale` must start every mode below half",
    ),
    ("half_learning_times", {"rtol": 0.5}, "`rtol` must .* from 1e-12 to 0.001"),
    ("early_alignment", {"scale": 1.0}, "`scale` must .* from 1e-100 to 0.0001"),
    ("early_alignment", {"width": 1}, "`width` must be at least 2"),
    ("kernel_to_rich", {"features": 5}, "`features` must be at least 6"),
    ("kernel_to_rich", {"scales": [1.0, math.nan]}, "`scales` must be a sequence"),
    ("low_rank", {"width": 5}, "`width` must be even"),
    ("margin_growth", {"power": 1}, "`power` must be at least 2"),
    ("margin_rate", {"clearance": 0.0}, "`clearance` must be a number from 0.1"),
    ("mexican_hat", {"psi": 0.0}, "`psi` must be a number from 0.01 to 3"),
    ("steepest_margin", {"norm": "l3"}, "`norm` must be one of"),
    ("directional_convergence", {"angle": "0.1"}, "`angle` must be a number"),
]


@pytest.mark.parametrize(("name", "wrong", "text"), BAD)
def test_bad_arguments_are_named(name, wrong, text):
    with pytest.raises(ValueError, match=text):
        getattr(experiments, name)(**wrong)


def test_the_command_lists_and_refuses(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(SETTINGS)
    with pytest.raises(SystemExit):
        main(["half_time"])
    assert "NAME must be one of directional_convergence, " in capsys.readouterr().err


def test_the_command_runs_an_experiment():
    command = [sys.executable, "-W", "error", "-m", "gflow.experiments"]
    found = subprocess.run(
        [*command, "directional_convergence"], capture_output=True, text=True,
        env={**os.environ, "JAX_ENABLE_X64": "0"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("directional_convergence: holds\n")
    assert found.stdout.endswith("1 of 1 hold.\n")
