import math

import numpy as np

from .._checks import checked_count


Seed = int | np.random.Generator


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
