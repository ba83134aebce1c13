"""The flow of a network on data: what moves, what it descends, and in which norm."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Num, PyTree

from ._checks import checked_array, require_concrete, require_x64
from ._devices import devices_of
from ._labels import checked_labels
from ._logs import log_mean_exp
from ._losses import AbstractLoss
from ._types import Scalar
from .norms import AbstractNorm
from .norms._ready import L2Norm, Sizes, checked_norm, norm_of


SMOOTHING = 1e-2
"""By default a flow is steepest in a norm at most this much, relatively, above the
square of the norm asked for."""


class AbstractFlow(eqx.Module):
    """A flow that descends the mean loss of a network over labeled points."""

    loss: eqx.AbstractVar[AbstractLoss]
    x: eqx.AbstractVar[Float[Array, "samples *features"]]
    y: eqx.AbstractVar[Num[Array, "samples *outputs"]]
    kind: eqx.AbstractVar[str]
    classes: eqx.AbstractVar[int]

    @abc.abstractmethod
    def norm_of(self, sizes: Sizes) -> AbstractNorm:
        """The norm in which it is steepest, for weights of these shapes."""

    @property
    def samples(self) -> int:
        """The number $n$ of samples."""
        return self.x.shape[0]

    @property
    def per_sample(self) -> int:
        """How many margins a sample has: 1, or one for each other class or output."""
        if self.kind == "classes":
            return self.classes - 1
        return int(self.y[0].size) if self.kind == "targets" else 1

    def sample_margins(
        self, network: PyTree, x: Float[Array, "*features"], y: Num[Array, "*outputs"]
    ) -> Float[Array, " per_sample"]:
        """The margins of one sample, or its errors under the square loss."""
        output = network(x)
        expected = (self.classes,) if self.kind == "classes" else jnp.shape(y)
        if jnp.shape(output) != expected:
            raise ValueError(_wrong_output(self.kind, expected, jnp.shape(output)))
        if self.kind == "signs":
            return (y * output)[None]
        if self.kind == "targets":
            return jnp.ravel(output - y)
        others = jnp.mod(y + jnp.arange(1, self.classes), self.classes)
        return output[y] - output[others]

    def margins(self, network: PyTree) -> Float[Array, " margins"]:
        """The margins of a network, sample by sample; one a sample for two classes."""
        each = jax.vmap(self.sample_margins, in_axes=(None, 0, 0))
        return jnp.ravel(each(network, self.x, self.y))

    def log_losses(self, margins: Float[Array, " margins"]) -> Float[Array, " samples"]:
        r"""$\log \ell$ of each sample, from all margins."""
        return self.loss.log_losses(margins.reshape(-1, self.per_sample))

    def log_weights(
        self, margins: Float[Array, " margins"]
    ) -> Float[Array, " margins"]:
        r"""$\log g_k$, the pull of each margin, before the mean over samples."""
        return jnp.ravel(self.loss.log_weights(margins.reshape(-1, self.per_sample)))

    def log_loss(self, network: PyTree) -> Scalar:
        r"""$\log \mathcal L$, also where $\mathcal L$ itself would underflow."""
        return log_mean_exp(self.log_losses(self.margins(network)))


class GradientFlow(AbstractFlow):
    r"""The flow $\dot w = -\nabla \mathcal L(w)$ of a mean loss over labeled points.

    $$\mathcal L(w) = \frac1n \sum_i \ell(z_i(w))$$

    of the margins $z_i = y_i f(x_i; w)$ for labels $y = \pm 1$; $z_{ik} = f_{y_i} -
    f_k$, $k \neq y_i$, for $C$ classes; and the errors $f(x_i; w) - y_i$ of regression.

    A network $f$ is any `eqx.Module` (or other PyTree with `__call__`) that maps one
    input to a scalar, or to logits; its inexact arrays (outside of `gflow.nn.Fixed`)
    are the weights $w$.

    Args:
        loss: The loss of a sample, such as `gflow.Logistic()`.
        x: Inputs, one sample per row; any shape of features.
        y: Labels: -1 or +1 (`Logistic`, `Exponential`, `ExponentialTail`), or integers
            0 to $C - 1$ (`CrossEntropy`, `Exponential`, `ExponentialTail`), each at
            least once; or targets of the shape of the network's output (`Square`).

    Raises:
        ValueError: If 64-bit mode is off, an array is float32, has the wrong shape, or
            holds NaN or inf, or the labels are not of the kind that the loss is for.

    Example:
        `gflow.GradientFlow(gflow.Logistic(), x, y)`
    """

    loss: AbstractLoss
    x: Float[Array, "samples *features"]
    y: Num[Array, "samples *outputs"]
    kind: str = eqx.field(static=True)
    classes: int = eqx.field(static=True)

    def __init__(self, loss: AbstractLoss, x: ArrayLike, y: ArrayLike):
        self.loss = loss
        self.x, self.y, self.kind, self.classes = _checked(loss, x, y)

    def norm_of(self, sizes):
        del sizes
        return L2Norm()


class SteepestFlow(AbstractFlow):
    r"""The steepest descent of a mean loss in another norm of all weights.

    $$\dot w = \arg\max_u\ \langle -\nabla \mathcal L(w), u \rangle
      - \tfrac12 \|u\|_\delta^2, \qquad
      \|w\|^2 \leq \|w\|_\delta^2 \leq (1 + \mathrm{smoothing}) \|w\|^2$$

    in the norm $\|w\|_\delta^2 = \|w\|^2 + \delta\, |w|_2^2$, whose steepest direction
    is unique and Lipschitz, as those of `"linf"` and `"l1"` are not. It is sign descent
    for `"linf"`, coordinate descent for `"l1"`, and orthogonalized as in Shampoo and
    Muon for `"spectral"`. In homogeneous networks its `steepest_margin` never
    falls once it is positive, with no error in $\delta$: that is a norm like another.
    Limits differ from those of $\|\cdot\|$ itself by $O(\delta)$, and in linear models
    not at all once $\delta$ is small: on the points of the tests the margin of `"l1"`
    is 2e-4 too small at a smoothing of 1e-2, and right to 1e-10 at 1e-3.

    It moves in weight space, by default under the clock `gflow.clocks.Loss()`.

    Args:
        loss: As for `GradientFlow`.
        x: As for `GradientFlow`.
        y: As for `GradientFlow`.
        norm: `"l2"`, `"linf"` (the greatest weight), `"l1"` (the sum of sizes) or
            `"spectral"` (the greatest singular value of all layers; a vector counts as
            a matrix of one row, a kernel of shape (out, ...) as (out, all others)). Or
            a `gflow.norms.AbstractNorm` of your own, which is taken as it is.
        smoothing: How far the squared norm is raised at most, relatively, 1e-2 if not
            given; `"l2"` and your own norms do not need it. The smaller, the stiffer is
            sliding, and the more steps it takes; for limits, extrapolate it to 0.

    Raises:
        ValueError: If `norm` or `smoothing` is none, or as for `GradientFlow`.

    Example:
        `gflow.SteepestFlow(gflow.Logistic(), x, y, norm="linf")`

    References:
        Tsilivis, Vardi and Kempe (2025), "Flavors of Margin: Implicit Bias of Steepest
        Descent in Homogeneous Neural Networks", arXiv:2410.22069.
    """

    loss: AbstractLoss
    x: Float[Array, "samples *features"]
    y: Num[Array, "samples *outputs"]
    kind: str = eqx.field(static=True)
    classes: int = eqx.field(static=True)
    own_norm: AbstractNorm | None
    named_norm: str | None = eqx.field(static=True)
    smoothing: Scalar

    def __init__(
        self,
        loss: AbstractLoss,
        x: ArrayLike,
        y: ArrayLike,
        *,
        norm: str | AbstractNorm,
        smoothing: float | None = None,
    ):
        self.loss = loss
        self.x, self.y, self.kind, self.classes = _checked(loss, x, y)
        given = checked_norm(norm)
        named = isinstance(given, str)
        self.own_norm, self.named_norm = (None, given) if named else (given, None)
        if not named and smoothing is not None:
            raise ValueError(
                "`smoothing` is for the norms that gflow names, and `norm` is one of "
                f"your own, {given!r}. Leave it out."
            )
        default = SMOOTHING if named else 0.0
        self.smoothing = jnp.asarray(default)
        if smoothing is not None:
            self.smoothing = _checked_smoothing(smoothing)

    @property
    def norm(self) -> str | AbstractNorm:
        """The norm in which it is steepest, as given."""
        if self.own_norm is not None:
            return self.own_norm
        assert self.named_norm is not None, "It has one or the other."
        return self.named_norm

    def norm_of(self, sizes):
        return norm_of(self.norm, sizes, self.smoothing)


def _checked(
    loss: AbstractLoss, x: ArrayLike, y: ArrayLike
) -> tuple[Array, Array, str, int]:
    """Inputs, labels, their kind and the number of classes."""
    if not isinstance(loss, AbstractLoss):
        raise ValueError(
            "`loss` must be a loss such as `gflow.Logistic()`, but is "
            f"{loss!r}. (A class? Call it to make an instance.)"
        )
    require_x64()
    require_concrete((x, y), "A flow")
    spread = devices_of(x)
    x, y = checked_array(x, "x"), checked_array(y, "y")
    if x.ndim < 2 or x.shape[0] == 0:
        raise ValueError(
            "`x` must have shape (samples, features), samples >= 1, but has shape "
            f"{x.shape}. For one feature, pass `x[:, None]`."
        )
    if y.ndim != 1 and "targets" not in loss.labels:
        raise ValueError(
            f"`y` must have shape (samples,), but has shape {y.shape}. "
            "For one column, pass `y[:, 0]`."
        )
    if y.ndim == 0 or x.shape[0] != y.shape[0]:
        raise ValueError(
            "`x` and `y` must have as many samples, but have "
            f"{x.shape[0]} and {y.shape[0] if y.ndim else 1}."
        )
    kind, y, classes = checked_labels(loss, y)
    return jax.device_put(x, spread), jnp.asarray(y), kind, classes


def _checked_smoothing(smoothing: float) -> Array:
    try:
        value = float(smoothing)
    except (TypeError, ValueError):
        value = math.nan
    if not 1e-8 <= value <= 1.0:
        raise ValueError(
            "`smoothing` must be a number from 1e-8 to 1, but is "
            f"{smoothing!r}. For the limit at 0, extrapolate from small ones."
        )
    return jnp.asarray(np.float64(value))


def _wrong_output(kind: str, expected: tuple, found: tuple) -> str:
    if kind == "signs":
        return (
            f"`network` must map one input to a scalar, but maps it to shape {found}. "
            "With two classes, return one number; for logits, use "
            "`gflow.CrossEntropy()` and labels 0, 1, ..."
        )
    if kind == "classes":
        return (
            f"`network` must map one input to {expected[0]} logits, one a class in "
            f"`y`, but maps it to shape {found}. With two classes and one output, use "
            "labels -1 and +1."
        )
    cure = "pass `y[:, 0]`" if (found, expected) == ((), (1,)) else "return as many"
    return (
        f"`network` must map one input to the shape of one target, {expected}, but "
        f"maps it to shape {found}: {cure}."
    )
