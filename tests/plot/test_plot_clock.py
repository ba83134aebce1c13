"""The axis of time: increasing, and with few ticks that say what they are."""

import math
import re

import numpy as np
from gflow.plot import _clock
from hypothesis import given, strategies as st


finite = st.floats(-500, 1e300).filter(lambda log_t: abs(log_t) > 1e-6)


@given(finite, finite)
def test_the_axis_of_time_is_increasing_and_can_be_undone(one, other):
    assert math.isclose(_clock.unstretch(_clock.stretch(one)), one, rel_tol=1e-12)
    low, high = sorted((one, other))
    assert _clock.stretch(low) <= _clock.stretch(high)


def meaning(text):
    """log t of a label such as $10^{5 \\cdot 10^{3}}$."""
    numbers = [float(part) for part in re.findall(r"-?[\d.]+", text)]
    if len(numbers) == 1:
        return math.log(numbers[0])
    factor = 1.0
    if len(numbers) == 4:  # 10, factor, 10, power
        factor, numbers = numbers[1], [10.0, *numbers[2:]]
    exponent = numbers[1] if len(numbers) == 2 else factor * 10 ** numbers[2]
    return exponent * math.log(10)


@given(finite, finite)
def test_ticks_are_few_apart_and_say_what_they_are(one, other):
    low, high = sorted((one, other))
    ticks = _clock.PowerLocator().tick_values(low, high)
    assert np.all((ticks >= low) & (ticks <= high))
    assert len(ticks) <= 12
    places = _clock.stretch(np.array(ticks))
    width = _clock.stretch(high) - _clock.stretch(low)
    assert np.all(np.diff(places) > 0.03 * width)
    if width > 8 and high > 30:
        assert len(ticks) >= 2
    for tick in ticks:
        assert math.isclose(
            meaning(_clock.power_text(tick)), tick, abs_tol=1e-9, rel_tol=1e-9
        )
