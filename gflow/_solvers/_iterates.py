"""What Newton's method for the dual weights of a stage goes from and through."""

from typing import NamedTuple

from jaxtyping import Array, Float

from .._types import Scalar


class Guess(NamedTuple):
    """Weights and their motion, or changes of both."""

    q: Float[Array, " m"]
    motion: Float[Array, " r"]


class Iterate(NamedTuple):
    r"""A guess, and where its equation is linearized.

    The slopes of $\log g$ are taken at margins that follow the weights, not at those
    that the weights move: of a sample that a poor guess throws to where the slope
    saturates, those say nothing of how its weight resists.

    Attributes:
        guess: $q$ and its motion.
        margins: $\zeta$, with $\log q + c \approx \log g(\zeta)$.
        log_total: $c$.
    """

    guess: Guess
    margins: Float[Array, " m"]
    log_total: Scalar


class Change(NamedTuple):
    """How an iterate changes."""

    guess: Guess
    log_total: Scalar


class Miss(NamedTuple):
    """What an equation misses, to first order, and the margins.

    Attributes:
        residual: By how much the logarithm of each weight is more than it should be.
        beyond: And how much more than the margins ask for, where they are now.
        distance: How far the weights are from what they ask for, in nats.
        margins: Where the weights lead.
        linearized: The margins at which it is linearized: these where they are near.
    """

    residual: Float[Array, " m"]
    beyond: Float[Array, " m"]
    distance: Scalar
    margins: Float[Array, " m"]
    linearized: Float[Array, " m"]


class Slopes(NamedTuple):
    """What stands for the weights in Newton's step, and how they follow the margins."""

    mean: Float[Array, " m"]
    decay: Float[Array, " m"]
    shares: Float[Array, "samples per_sample"] | None
