"""Which cases of a test are left for the slow run."""

import pytest


def but_slow(cases, *slow):
    """Cases of `parametrize`, those that are named marked `slow`."""
    marked = pytest.mark.slow
    return [pytest.param(c, marks=marked) if c in slow else c for c in cases]
