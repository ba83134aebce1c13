"""Inputs and labels."""

from typing import Literal

import hypothesis.strategies as st
import numpy as np
from hypothesis import note
from jaxtyping import Float


Kind = Literal["signs", "classes", "targets"]
SEEDS = st.integers(0, 2**16)
ARRANGEMENTS = ("generic", "orthogonal", "lattice", "duplicated")


@st.composite
def data(
    draw: st.DrawFn,
    kind: Kind = "signs",
    *,
    samples: tuple[int, int] = (2, 12),
    features: tuple[int, int] = (1, 6),
    classes: tuple[int, int] = (3, 4),
) -> tuple[Float[np.ndarray, "samples features"], np.ndarray]:
    """A small labeled data set.

    Inputs are Gaussian, or multiples of unit vectors, or of entries -1, 0 and 1, or
    Gaussian with points twice (with labels of their own, so that no network may fit
    them). Labels are random: whether a network can fit them is not known.

    Args:
        kind: "signs" for labels -1 and +1 (which may be all the same), "classes" for 0
            to C - 1, each at least once, "targets" for Gaussian numbers.
        samples: The least and the most.
        features: The least and the most.
        classes: The least and the most; there are at least as many samples.

    Returns:
        `x` of shape (samples, features), no row of it zero, and `y` of shape
        (samples,).

    Example:
        `@hypothesis.given(data("classes", features=(3, 3)))`
    """
    count = draw(st.integers(*classes)) if kind == "classes" else 1
    n = draw(st.integers(max(samples[0], count), max(samples[1], count)))
    d = draw(st.integers(*features))
    arrangement, seed = draw(st.sampled_from(ARRANGEMENTS)), draw(SEEDS)
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, d))
    if arrangement == "orthogonal":
        x = np.eye(d)[np.arange(n) % d] * random.uniform(0.5, 2.0, (n, 1))
    elif arrangement == "lattice":
        x = np.round(np.clip(x, -1, 1))
        x[:, 0] = np.where(np.all(x == 0, axis=1), 1.0, x[:, 0])
    elif arrangement == "duplicated":
        x = x[random.integers(0, (n + 1) // 2, n)]
    y = random.choice([-1.0, 1.0], n)
    if kind == "classes":
        y = random.permutation(np.arange(n) % count).astype(float)
    elif kind == "targets":
        y = random.normal(size=n)
    note(f"x = np.array({x.tolist()})\ny = np.array({y.tolist()})")
    return x, y
