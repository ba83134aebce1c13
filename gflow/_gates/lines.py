"""A function of weights on lines between random networks, seen at its gates."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .evaluate import evaluate
from .plan import Plan


class Lines:
    """Random lines in the space of weights, every second at scales of their own.

    Attributes:
        groups: The group of each kink.
        lengths: How long each line is.
    """

    def __init__(
        self, plan: Plan, values: list[Array], weights: Sequence[bool], lines: int
    ):
        rng = np.random.default_rng(0)
        pairs = list(zip(values, weights, strict=True))
        gated = [True] * plan.groups
        pieces: list[tuple[int, int]] = []

        def inputs(moving):
            left = iter(moving)
            return [next(left) if is_weight else value for value, is_weight in pairs]

        def at(first, last, t):
            return [(1 - t) * a + t * b for a, b in zip(first, last, strict=True)]

        def look(first, last, t):
            _, tape = evaluate(plan, gated, None, inputs(at(first, last, t)))
            pieces[:] = zip(tape.groups, (u.size for u in tape.kinks), strict=True)
            return jnp.concatenate(tape.kinks)

        def slope(first, last, t, gates):
            def value(moving):
                out, _ = evaluate(plan, gated, gates, inputs(moving))
                parts = np.random.default_rng(1).normal(size=out.shape)
                return jnp.sum(out * parts), out

            here = at(first, last, t)
            (_, out), gradient = jax.value_and_grad(value, has_aux=True)(here)
            return out, gradient

        # The time is in the compilation.
        self._look, self._slope = jax.jit(look), jax.jit(slope)
        self._ends = []
        for line in range(lines):
            both = [
                [_random(value, rng, line) for value, is_weight in pairs if is_weight]
                for _ in range(2)
            ]
            self._ends.append(both)
        self.lengths = [_length(*ends) for ends in self._ends]
        jax.eval_shape(look, *self._ends[0], 0.0)
        self.groups = np.repeat(*np.asarray(pieces, int).T)

    def look(self, line: int, t: float) -> Float[np.ndarray, " kinks"]:
        """U of all kinks at one place of a line."""
        return np.asarray(self._look(*self._ends[line], t))

    def slope(
        self, line: int, t: float, gates: Bool[np.ndarray, " kinks"]
    ) -> tuple[Float[np.ndarray, "*out"], list[Array]]:
        """The value at some gates, and the gradient of a random part of it."""
        out, gradient = self._slope(*self._ends[line], t, gates)
        return np.asarray(out), gradient


def _length(first: list[Array], last: list[Array]) -> float:
    pairs = zip(first, last, strict=True)
    return math.sqrt(sum(float(jnp.sum((b - a) ** 2)) for a, b in pairs))


def _random(value: Array, rng: np.random.Generator, line: int) -> Array:
    """An array of random weights; those of a network near zero reach few kinks."""
    usual = 1 / math.sqrt(max(1, math.prod(value.shape[1:])))
    own = float(jnp.sqrt(jnp.mean(value**2))) if value.size else 0.0
    scale = usual * 2.0**line if line % 2 else own or usual
    return jnp.asarray(scale * rng.normal(size=value.shape), value.dtype)
