r"""Losses of margins, kept in logarithms.

A margin loss $\ell$ is positive, decreasing and mostly $e^{-z}$ far out, so that at
margin 745 it underflows; experiments run to margins of $10^{300}$. Nothing here is
formed outside logarithms.
"""

import abc
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from .._logs import log_sum_exp
from .._types import Scalar


class AbstractLoss(eqx.Module):
    r"""A loss of one sample, a function of its margins $z_k$ over other classes $k$.

    With two classes there is one; with $C$ classes there are $C - 1$, and $z_k =
    f_y - f_k$. A sample pulls the flow by $g_k = -\partial \ell / \partial z_k$.

    Attributes:
        labels: The kinds of labels it is for, some of `"signs"` (-1 and +1),
            `"classes"` (0 to $C - 1$) and `"targets"` (any numbers: `Square` only).
    """

    labels: ClassVar[tuple[str, ...]]

    @property
    @abc.abstractmethod
    def tail(self) -> float:
        r"""The power $\beta$ of $\log \ell \sim -z^\beta$ far out."""

    @abc.abstractmethod
    def log_losses(
        self, margins: Float[Array, "*samples per_sample"]
    ) -> Float[Array, "*samples"]:
        r"""$\log \ell$ of each sample. Finite for all finite margins."""

    @abc.abstractmethod
    def log_weights(
        self, margins: Float[Array, "*samples per_sample"]
    ) -> Float[Array, "*samples per_sample"]:
        r"""$\log g_k$, the pull of each margin on the flow."""

    @abc.abstractmethod
    def weight_slopes(
        self, margins: Float[Array, "*samples per_sample"]
    ) -> tuple[
        Float[Array, "*samples per_sample"], Float[Array, "*samples per_sample"] | None
    ]:
        r"""What $-\partial \log g_k / \partial z_j$ is made of.

        Returns:
            Its diagonal; and the shares $p_j$ where it is $\delta_{kj} - p_j$, or
            `None` where it is diagonal.
        """

    @abc.abstractmethod
    def margin_of(self, log_loss: Scalar) -> Scalar:
        r"""The margin of a sample that has no other and this $\log \ell$."""


class AbstractMarginLoss(AbstractLoss):
    r"""A loss $\ell(z)$ of one margin, which acts on each; those of a sample add up."""

    @abc.abstractmethod
    def log_loss(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""$\log \ell(z)$. Finite for every finite margin."""

    @abc.abstractmethod
    def log_weight(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""$\log g(z)$ with $g = -\ell'$, the pull of one sample on the flow."""

    @abc.abstractmethod
    def weight_decay(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""$-\mathrm{d} \log g / \mathrm{d} z \geq 0$."""

    def log_losses(self, margins):
        return log_sum_exp(self.log_loss(margins))

    def log_weights(self, margins):
        return self.log_weight(margins)

    def weight_slopes(self, margins):
        return self.weight_decay(margins), None
