"""The contract of a loss, checked."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._checks import require_x64
from .._losses import AbstractLoss, AbstractMarginLoss
from ._entries import check_entries
from ._loss_slopes import Called, check_slopes
from ._report import require, require_all, require_close
from ._square import check_square


KINDS = ("signs", "classes", "targets")
PER_SAMPLE = (1, 2, 4)
"""How many margins of a sample are tried, where labels may be classes."""

DECADES = 250.0
"""Margins are tried up to a `tail`-th root of 1e250, either way: their logarithm of the
loss is finite there."""

ALONE = 40
"""One sample of so many is also called alone."""

SPREAD = 3.0
"""How far the margins of one sample are apart, near zero."""


def check_loss(loss: AbstractLoss) -> None:
    r"""Check that a loss keeps the contract of `gflow.AbstractLoss`.

    1. `labels` names some of the kinds "signs", "classes" and "targets".
    2. `tail` is the power $\beta > 0$ with $-\log \ell \sim z^\beta$ up to a factor.
    3. $\log \ell$ and $\log g$ are finite float64 at all finite margins, here up to
       $|z|^\beta = 10^{250}$, of the shapes of the contract, under `jit` too, and
       each sample is treated alone.
    4. $\ell$ falls with each margin: $g_k = -\partial \ell / \partial z_k$, against
       differences of `log_losses`, and by its `jax.grad`.
    5. `weight_slopes` is $-\partial \log g_k / \partial z_j$, against differences of
       `log_weights`.
    6. `margin_of` is the inverse of `log_losses` of a single margin.
    7. An `AbstractMarginLoss` acts on each entry, and `weight_decay` is not negative.

    Derivatives must agree with differences to 1e-5, from one side at least, so that
    they may jump; the inverse to 1e-12, as far as it is conditioned. A loss of targets
    must be half the square of the error: a flow has minus the errors for dual weights.

    Args:
        loss: An instance of a loss.

    Raises:
        AssertionError: If a law is broken; it says which, where, and by how much.
        ValueError: If `loss` is no `gflow.AbstractLoss`, or 64-bit mode is off.

    Example:
        `gflow.testing.check_loss(gflow.ExponentialTail(0.5))`
    """
    require_x64()
    if not isinstance(loss, AbstractLoss):
        raise ValueError(
            "`loss` must be a `gflow.AbstractLoss` such as `gflow.Logistic()`, but is "
            f"{loss!r}. (A class? Call it to make an instance.)"
        )
    _check_facts(loss)
    if "targets" in loss.labels:
        check_square(loss)
        return
    called = Called(loss)
    for per_sample in PER_SAMPLE if "classes" in loss.labels else PER_SAMPLE[:1]:
        margins = _margins(loss.tail, per_sample)
        _check_values(called, margins)
        check_slopes(called, margins)
    _check_inverse(called, _margins(loss.tail, 1))
    _check_tail(called)
    if isinstance(loss, AbstractMarginLoss):
        check_entries(loss, _margins(loss.tail, 1)[:, 0])


def _check_facts(loss: AbstractLoss) -> None:
    labels, tail = loss.labels, loss.tail
    known = isinstance(labels, tuple) and labels and set(labels) <= set(KINDS)
    law = f"`{type(loss).__name__}.labels` must be a tuple of some of {KINDS}"
    require(known, law, f"is {labels!r}")
    number = isinstance(tail, int | float) and 0 < tail < math.inf
    law = f"`{type(loss).__name__}.tail` must be a positive number"
    require(number, law, f"is {tail!r}")


def _margins(tail: float, per_sample: int) -> Float[np.ndarray, "points per_sample"]:
    """Margins of both signs and of all sizes, a row a sample."""
    far = 10.0 ** (DECADES / max(tail, 1.0))
    sizes = np.concatenate(
        [np.geomspace(0.0117, 93.7, 31), np.geomspace(311.0, far, 21)]
    )
    rows = np.concatenate([-sizes[::-1], sizes])[:, None]
    spread = np.random.default_rng(0).uniform(0, SPREAD, (len(rows), per_sample))
    spread[:, 0] = 0.0
    return rows + spread * np.maximum(1.0, np.abs(rows) / 100)


def _check_values(
    called: Called, margins: Float[np.ndarray, "points per_sample"]
) -> None:
    """Shapes, dtypes, finite values, and each sample alone."""
    name, shape = called.name, margins.shape
    for method, expected in (("log_losses", shape[:1]), ("log_weights", shape)):
        law = f"`{name}.{method}` must map margins of shape {shape} to float64 of shape"
        out = getattr(called, method)(margins)
        fits = out.shape == expected and out.dtype == np.float64
        require(fits, f"{law} {expected}", f"maps them to {out.dtype}{out.shape}")
        law = f"`{name}.{method}` must be finite at all finite margins"
        require_all(
            np.isfinite(out),
            law,
            lambda at, out=out: f"is {out[at]} at margins {margins[at[0]]}",
        )
        alone = np.stack([np.asarray(getattr(called.loss, method)(z))
                          for z in jnp.asarray(margins[::ALONE])])  # fmt: skip
        law = f"`{name}.{method}` must treat each sample alone, and the same under jit"
        room = 1e-13 * np.maximum(1.0, np.abs(alone))
        require_close(out[::ALONE], alone, room, law, lambda at: f"for sample {at[0]}")


def _check_inverse(called: Called, margins: Float[np.ndarray, "points 1"]) -> None:
    """`margin_of` inverts the loss, as far as rounding in its logarithm allows."""
    log_loss = called.log_losses(margins)
    found = np.asarray([called.margin_of(u) for u in log_loss])
    slope = np.exp(called.log_weights(margins)[:, 0] - log_loss)
    with np.errstate(divide="ignore", over="ignore"):
        lost = np.maximum(np.abs(log_loss), 1.0) / slope
    room = 1e-12 * (np.abs(margins[:, 0]) + lost)
    law = f"`{called.name}.margin_of` must be the inverse of the loss of one margin"
    where = _at_log_loss(log_loss)
    require_close(found, margins[:, 0], room, law, where)


def _at_log_loss(log_loss: np.ndarray):
    return lambda at: f"at log loss {log_loss[at]:.6g}"


def _check_tail(called: Called) -> None:
    beta = float(called.loss.tail)
    near = 10.0 ** (DECADES / 2 / max(beta, 1.0))
    first, last = -called.log_losses(np.array([[near], [10 * near]]))
    power = math.log10(last / first) if first > 0 and last > 0 else math.nan
    law = f"`{called.name}.tail` must be the power of the margin in -log loss far out"
    found = f"is {beta:g} where that grows like the power {power:.6g}"
    require(abs(power - beta) <= 1e-3 * max(1.0, beta), law, found)
