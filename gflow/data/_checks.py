import math
import operator

import numpy as np


Seed = int | np.random.Generator


def checked_count(value: int, name: str, least: int = 1) -> int:
    """An argument as an integer of at least `least`, or an error that names it."""
    try:
        count = operator.index(value)
    except TypeError:
        raise ValueError(
            f"`{name}` must be an integer, but is {value!r}. "
            "For a rounded figure, pass `int(...)` of it."
        ) from None
    if count < least:
        raise ValueError(
            f"`{name}` must be at least {least}, but is {count}. Pass a larger one."
        )
    return count


def checked_generator(seed: Seed) -> np.random.Generator:
    """A random generator that stands where `seed` says, or an error."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(checked_count(seed, "seed", least=0))


def checked_length(value: float, name: str) -> float:
    """An argument as a finite number, zero or larger, or an error that names it."""
    if not math.isfinite(value) or value < 0:
        raise ValueError(
            f"`{name}` must be finite and at least 0, but is {value}. "
            "To swap the classes, pass `-y`."
        )
    return float(value)
