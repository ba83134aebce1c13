"""A function of weights on lines between random networks, seen at its gates."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .evaluate import evaluate
from .plan import Plan


class Trial:
    """What a function and its gates are on the line between two networks.

    It is compiled, where the time is, for all weights and data of the same shapes.

    Attributes:
        plan: The steps of the function.
        groups: The group of each kink.
    """

    def __init__(self, plan: Plan, values: list[Array], weights: Sequence[bool]):
        gated = [True] * plan.groups
        pieces: list[tuple[int, int]] = []

        def inputs(moving, still):
            left = iter(moving), iter(still)
            return [next(left[0] if is_weight else left[1]) for is_weight in weights]

        def at(first, last, t):
            return [(1 - t) * a + t * b for a, b in zip(first, last, strict=True)]

        def look(still, first, last, t):
            moving = at(first, last, t)
            _, tape = evaluate(plan, gated, None, inputs(moving, still))
            pieces[:] = zip(tape.groups, (u.size for u in tape.kinks), strict=True)
            return jnp.concatenate(tape.kinks)

        def slope(still, first, last, t, gates):
            def value(moving):
                out, _ = evaluate(plan, gated, gates, inputs(moving, still))
                parts = np.random.default_rng(1).normal(size=out.shape)
                return jnp.sum(out * parts), out

            here = at(first, last, t)
            (_, out), gradient = jax.value_and_grad(value, has_aux=True)(here)
            return out, gradient

        self.plan, self.weights = plan, tuple(weights)
        self.look, self.slope = jax.jit(look), jax.jit(slope)
        moving, still = self.apart(values)
        self.look.eval_shape(still, moving, moving, 0.0)
        self.groups = np.repeat(*np.asarray(pieces, int).T)

    def apart(self, values: list[Array]) -> tuple[list[Array], list[Array]]:
        """The weights, and the other inputs."""
        pairs = list(zip(values, self.weights, strict=True))
        moving = [value for value, is_weight in pairs if is_weight]
        return moving, [value for value, is_weight in pairs if not is_weight]


class Lines:
    """Random lines in the space of weights, every second at scales of their own.

    Attributes:
        groups: The group of each kink.
        lengths: How long each line is, array by array.
    """

    def __init__(self, trial: Trial, values: list[Array], lines: int):
        rng = np.random.default_rng(0)
        moving, self._still = trial.apart(values)
        self._look, self._slope = trial.look, trial.slope
        self._ends = []
        for line in range(lines):
            both = [[_random(value, rng, line) for value in moving] for _ in range(2)]
            self._ends.append(both)
        self.lengths = [
            [float(np.linalg.norm(b - a)) for a, b in zip(*ends, strict=True)]
            for ends in self._ends
        ]
        self.groups = trial.groups

    def look(self, line: int, t: float) -> Float[np.ndarray, " kinks"]:
        """U of all kinks at one place of a line."""
        return np.asarray(self._look(self._still, *self._ends[line], t))

    def slope(
        self, line: int, t: float, gates: Bool[np.ndarray, " kinks"]
    ) -> tuple[Float[np.ndarray, "*out"], list[Array]]:
        """The value at some gates, and the gradient of a random part of it."""
        out, gradient = self._slope(self._still, *self._ends[line], t, gates)
        return np.asarray(out), gradient


def _random(value: Array, rng: np.random.Generator, line: int) -> np.ndarray:
    """An array of random weights; those of a network near zero reach few kinks."""
    usual = 1 / math.sqrt(max(1, math.prod(value.shape[1:])))
    own = float(np.sqrt(np.mean(np.square(value)))) if value.size else 0.0
    scale = usual * 2.0**line if line % 2 else own or usual
    return np.asarray(scale * rng.normal(size=value.shape), value.dtype)
