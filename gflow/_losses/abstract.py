r"""Losses of the margin, kept in logarithms.

A margin loss $\ell$ is positive, decreasing and $e^{-z}$ far out, so that at margin 745
it underflows; experiments run to margins of $10^{300}$. Nothing here is formed outside
logarithms.
"""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from .._types import Scalar


class AbstractMarginLoss(eqx.Module):
    r"""A loss $\ell(z)$ of one margin $z$; all methods act on each entry."""

    @abc.abstractmethod
    def log_loss(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""$\log \ell(z)$. Finite for every finite margin."""

    @abc.abstractmethod
    def log_weight(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""$\log g(z)$ with $g = -\ell'$, the pull of one sample on the flow."""

    @abc.abstractmethod
    def weight_decay(self, margin: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        r"""$-\mathrm{d} \log g / \mathrm{d} z$, in $[0, 1]$; tends to 1 far out."""

    @abc.abstractmethod
    def margin_of(self, log_loss: Scalar) -> Scalar:
        r"""$\ell^{-1}(e^{u})$ for $u$ = `log_loss`: the margin that has this loss."""
