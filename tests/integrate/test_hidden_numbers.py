"""Constants of the solver, chosen by trial: other ones must not move the answer."""

import math

import gflow
import jax
import numpy as np
import pytest
from gflow import Until, _framing, _paces
from gflow._integrate import (
    _arrival,
    _attempt,
    _drive,
    _landing,
    _modes,
    _rest,
    _watch,
)
from gflow._solvers import _direct, switching

from benchmarks import any_start


LOSSES = (0.6, 0.43, 0.1)
VARIATIONS = {
    "rest": [
        (_framing, "REST", (3e-6, 1e-14)), (_arrival, "WAKE", (3e-4, 1e-13)),
        (_framing, "SLOW", 3e2), (_framing, "LARGE", 3e-3),
    ],
    "frames": [
        (_paces, "DECAY", 0.7), (_paces, "ALIKE", 3e-3), (_paces, "FASTEST", 0.3),
    ],
    "steps": [
        (_attempt, "GROWTH", 1.7), (_attempt, "GROWTH_AT_REST", 10.0),
        (_landing, "LANDED", (0.02, 0.9)), (_attempt, "FAR_BELOW", 3e-3),
        (_landing, "BEYOND", 1e-2),
    ],
    "turns": [
        (switching, "STABLE", 2.5), (switching, "LIMITED", 0.8),
        (switching, "PATIENT", 4.0), (switching, "GROWTH", 2.5),
        (switching, "TRIAL", 3), (switching, "LONGER", 1), (_direct, "SHARP", 0.01),
        (_direct, "DIGITS", 1e-3), (switching, "worth", lambda m, n: 6.0),
    ],
    "looks": [
        (_watch, "QUIET", 3e-3), (_watch, "LONG", 1.0), (_watch, "AGAIN", 1e3),
        (_watch, "SOON", 7.0),
        (_modes, "OFTEN", 0.6), (_modes, "ALIKE", 0.8), (_modes, "NEW", 1e-2),
        (_modes, "LEAP", 0.1), (_modes, "SEEN", 30.0), (_rest, "SEEN", 30.0),
        (_rest, "SMALL", 3e-2), (_rest, "YET", 30.0), (_drive, "CHUNK_STEPS", 17),
    ],
}  # fmt: skip


IMPLICIT = gflow.solvers.SampleSpaceKvaerno5()
SOLVERS = {True: gflow.solvers.Switching(), False: IMPLICIT}  # whether it turns


def escapes(solver=IMPLICIT):
    """log t of three escapes from saddles, and log t and log loss much later."""
    flow, network = any_start.xor(1e-7, seed=0)
    until = Until(log_margin_scale=30.0)
    curve = gflow.solve(
        flow, network, until=until, rtol=1e-6, solver=solver, progress=False
    )
    times = [
        any_start.crossing(
            lambda c, at=at: math.log(at) - np.asarray(c.log_loss), curve
        )
        for at in LOSSES
    ]
    return np.array([*times, float(curve.log_t[-1])])


@pytest.fixture(scope="module")
def expected():
    return {turns: escapes(SOLVERS[turns]) for turns in SOLVERS}


@pytest.mark.slow
@pytest.mark.parametrize("group", VARIATIONS)
def test_other_constants_are_the_same_answer(group, expected, monkeypatch):
    numbers = VARIATIONS[group]
    solver, expected = SOLVERS[group == "turns"], expected[group == "turns"]
    for module, name, value in numbers:
        assert getattr(module, name) != value
        monkeypatch.setattr(module, name, value)
    jax.clear_caches()
    try:
        found = escapes(solver)
    finally:
        jax.clear_caches()
    assert not np.array_equal(found, expected)  # other steps were taken
    # Twice what each is right to: see `test_any_start`.
    assert np.max(np.abs(found - expected)[:-1]) <= 4e-5
    assert abs(found[-1] / expected[-1] - 1) <= 4e-5
