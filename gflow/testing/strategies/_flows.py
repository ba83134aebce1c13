"""Losses, flows, and flows with the network that they start from."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import note

from ..._flow import GradientFlow
from ..._losses import (
    AbstractLoss,
    CrossEntropy,
    Exponential,
    ExponentialTail,
    Logistic,
    Square,
)
from ...problems import Problem
from ._data import Kind, data
from ._networks import networks


KINDS: tuple[Kind, ...] = ("signs", "classes", "targets")
LOSSES: tuple[AbstractLoss, ...] = (
    *(Logistic(), Exponential(), CrossEntropy(), Square()),
    *(ExponentialTail(0.5), ExponentialTail(2.0)),
)


def losses(*kinds: Kind) -> st.SearchStrategy[AbstractLoss]:
    """One of gflow's losses.

    Args:
        *kinds: Of labels that it is for, "signs", "classes" or "targets"; by default
            any.

    Returns:
        A strategy; it shrinks to `Logistic()`.

    Example:
        `@hypothesis.given(losses("signs", "classes"))`
    """
    fit = [loss for loss in LOSSES if not kinds or set(kinds) & set(loss.labels)]
    return st.sampled_from(fit)


@st.composite
def flows(
    draw: st.DrawFn,
    loss: st.SearchStrategy[AbstractLoss] | None = None,
    *,
    samples: tuple[int, int] = (2, 12),
    features: tuple[int, int] = (1, 6),
) -> GradientFlow:
    """A gradient flow: a loss, and data for it.

    Args:
        loss: A strategy for the loss; by default `losses()`. One that is for several
            kinds of labels gets any of these.
        samples: The least and the most.
        features: The least and the most.

    Returns:
        The flow.

    Example:
        `@hypothesis.given(flows(hypothesis.strategies.just(MyLoss())))`
    """
    chosen = draw(losses() if loss is None else loss)
    fit: list[Kind] = [kind for kind in KINDS if kind in chosen.labels]
    kind: Any = draw(st.sampled_from(fit))
    note(f"loss = gflow.{chosen!r}")
    x, y = draw(data(kind, samples=samples, features=features))
    return GradientFlow(chosen, x, y)


@st.composite
def problems(
    draw: st.DrawFn,
    flow: st.SearchStrategy[GradientFlow] | None = None,
    **sizes: Any,
) -> Problem:
    """A gradient flow and a network that it starts from.

    Args:
        flow: A strategy for the flow; by default `flows()`.
        **sizes: As for `networks`, such as `scale=(1.0, 1.0)`.

    Returns:
        A `gflow.problems.Problem`, which unpacks as `flow, network = ...`.

    Example:
        `@hypothesis.given(problems(powers=(2, 3), depth=(2, 2)))`
    """
    chosen = draw(flows() if flow is None else flow)
    outputs = chosen.classes if chosen.kind == "classes" else "scalar"
    return Problem(chosen, draw(networks(chosen.x.shape[1], outputs, **sizes)))
