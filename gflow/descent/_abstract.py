r"""Descent: steps of finite length along $-\nabla \mathcal L$, one gradient each.

What the flow is compared with. Everything is told by the logarithm of the loss and its
gradient $\nabla \log \mathcal L = \nabla \mathcal L / \mathcal L$, which stay finite
where the loss itself is $10^{-800}$.
"""

import abc
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from .. import _tree
from .._types import Scalar


Evaluate: TypeAlias = Callable[[PyTree], tuple[Scalar, PyTree]]
"""From a network to its log-loss and the gradient of that."""


class Place(eqx.Module):
    r"""Where a descent is, for its method.

    Attributes:
        network: The network.
        log_loss: $\log \mathcal L$ there.
        slope: $\nabla \log \mathcal L$ there, in the structure of the network.
        log_t: Logarithm of the sum of the steps so far; `-inf` at the start.
        steps: How many steps were taken and kept.
        state: What else the method remembers.
    """

    network: PyTree
    log_loss: Scalar
    slope: PyTree
    log_t: Scalar
    steps: Int[Array, ""]
    state: PyTree

    def moved(
        self, log_step: Scalar, log_rate: Scalar, state: PyTree, evaluate: Evaluate
    ) -> "Place":
        r"""The place after a step down the gradient.

        $$w \mapsto w - \eta \nabla \mathcal L = w - a \nabla \log \mathcal L.$$

        Args:
            log_step: $\log \eta$.
            log_rate: $\log a = \log \eta + \log \mathcal L$. Not computed here: late,
                the sum has no digits.
            state: What the method remembers from now on.
            evaluate: Gives loss and slope at the new weights.
        """
        update = _tree.scale(self.slope, -jnp.exp(log_rate))
        network = eqx.apply_updates(self.network, update)
        log_loss, slope = evaluate(network)
        log_t = jnp.logaddexp(self.log_t, log_step)
        return Place(network, log_loss, slope, log_t, self.steps + 1, state)


class AbstractDescentMethod(eqx.Module):
    """A rule that takes one step for one gradient."""

    @abc.abstractmethod
    def init(self, network: PyTree) -> PyTree:
        """What the method remembers before its first step.

        Args:
            network: Where it starts.
        """

    @abc.abstractmethod
    def step(self, here: Place, evaluate: Evaluate) -> Place:
        """The next place, or this one if the step is not kept.

        Args:
            here: Where the descent is; loss and slope are known.
            evaluate: Gives them at other weights. Called exactly once: that is the
                gradient which `descend` counts.
        """
