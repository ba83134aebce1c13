r"""The two kinds of dual weights: shares of the samples, and errors.

The dual weights $q$ say how the samples pull: $x' = J^\top q$. Of a loss of margins
they are positive, and only their shares count, so that they are a point of the simplex.
Those of the square loss are minus the errors: any numbers, linear in the margins.
"""

import abc
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._flow import AbstractFlow
from ._logs import log_mean_exp
from ._types import AnyArray, Scalar


MILD = 15.0
"""Below this R max|z| the dual weights are a function of the point; above, unknowns of
their own. At rest differences of stored ones would carry rounding into the weights."""

LOG_MOST = 300.0
"""exp of more overflows when squared, with room for what it is multiplied by."""

LEAST_LOSS = -1500.0
"""The logarithm of a square loss that is zero to the last bit."""


class AbstractDuals(eqx.Module):
    """The kind of the dual weights of a flow.

    Attributes:
        linear: Whether they are minus the margins, which are errors.
    """

    linear: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def weights(
        self,
        flow: AbstractFlow,
        margins: Float[Array, " margins"],
        scale: Scalar,
        seen: Bool[Array, " margins"],
        held: Bool[Array, " margins"] | None,
    ) -> Float[Array, " margins"]:
        """$q$ at $R$ times these margins; of those `held` in proportion to the seen."""

    @abc.abstractmethod
    def mild(self, margins: Float[Array, " margins"], scale: Scalar) -> Bool[Array, ""]:
        """Whether they are a tame function of the margins."""

    @abc.abstractmethod
    def admitted(
        self, weights: Float[AnyArray, "*times margins"]
    ) -> Float[AnyArray, "*times margins"]:
        """Interpolated weights, without what no weights can be."""

    @abc.abstractmethod
    def normalized(
        self, weights: Float[AnyArray, "*times margins"]
    ) -> Float[AnyArray, "*times margins"]:
        """Weights that are known up to a factor, with the sum that they must have."""

    @abc.abstractmethod
    def pull_sizes(
        self, flow: AbstractFlow, weights: Float[Array, " margins"]
    ) -> Float[Array, " margins"]:
        """The sizes of the pulls of the samples, whose rounding is relative to them."""

    @abc.abstractmethod
    def log_slope_and_loss(
        self,
        flow: AbstractFlow,
        scaled: Float[Array, " margins"],
        seen: Bool[Array, " margins"],
    ) -> tuple[Scalar, Scalar]:
        r"""$\log G$, over the margins that are seen, and $\log \mathcal L$."""


class Shares(AbstractDuals):
    """Of a loss of margins: a point of the simplex."""

    linear: ClassVar[bool] = False

    def weights(self, flow, margins, scale, seen, held):
        logs = flow.log_weights(scale * margins)
        among = jnp.where(seen, logs, -jnp.inf)
        q = jax.nn.softmax(among)
        if held is None:
            return q
        total = jax.nn.logsumexp(among)
        return jnp.where(held, jnp.exp(jnp.minimum(logs - total, LOG_MOST)), q)

    def mild(self, margins, scale):
        return scale * jnp.max(jnp.abs(margins)) < MILD

    def admitted(self, weights):
        return weights.__array_namespace__().maximum(weights, 0.0)

    def normalized(self, weights):
        total = weights.__array_namespace__().sum(weights, axis=-1, keepdims=True)
        return weights / total

    def pull_sizes(self, flow, weights):
        return jnp.abs(weights)

    def log_slope_and_loss(self, flow, scaled, seen):
        log_loss = log_mean_exp(flow.log_losses(scaled))
        logs = jnp.where(seen, flow.log_weights(scaled), -jnp.inf)
        return log_mean_exp(logs) + math.log(flow.per_sample), log_loss


class Errors(AbstractDuals):
    """Of the square loss: any numbers, and a function of the point."""

    linear: ClassVar[bool] = True

    def weights(self, flow, margins, scale, seen, held):
        return -margins

    def mild(self, margins, scale):
        return jnp.asarray(True)

    def admitted(self, weights):
        return weights

    def normalized(self, weights):
        return weights

    def pull_sizes(self, flow, weights):
        # They are differences, as accurate as the targets.
        return jnp.abs(weights) + jnp.abs(jnp.ravel(flow.y))

    def log_slope_and_loss(self, flow, scaled, seen):
        log_losses = jnp.maximum(flow.log_losses(scaled), LEAST_LOSS)
        return jnp.asarray(-math.log(flow.samples)), log_mean_exp(log_losses)
