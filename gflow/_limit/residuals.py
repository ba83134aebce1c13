"""How well a direction meets the conditions of Karush, Kuhn and Tucker."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from .model import Model


ON_MARGIN = 1e-9
"""Margins so near to the smallest, against it, carry it or may."""


class Residuals(NamedTuple):
    """The fields of the same names of `Limit`, and the direction of norm one.

    `drift` is the stationarity for weights of norm one: the same in any unit of data.
    """

    theta: Float64[np.ndarray, " weights"]
    margin: float
    active: Int[np.ndarray, " active"]
    multipliers: Float64[np.ndarray, " margins"]
    stationarity: float
    drift: float
    infeasibility: float
    slack: float
    slack_sum: float
    gap: float


def residuals(
    model: Model,
    theta: Float64[np.ndarray, " weights"],
    multipliers: Float64[np.ndarray, " margins"],
    degree: float,
) -> Residuals:
    r"""All residuals at $w = m^{-1/L} \theta$, with multipliers refitted there.

    The margin in $w$ is the mean by the multipliers; so infeasibility is not zero by
    definition.
    """
    theta = theta / np.linalg.norm(theta)
    margins, gradients = model.jacobian(theta)
    carrying = multipliers > 0
    multipliers = np.zeros(len(margins))
    fitted = np.linalg.lstsq(gradients[carrying].T, theta)[0]
    multipliers[carrying] = np.maximum(fitted, 0.0)
    weights = multipliers / np.sum(multipliers)
    mean = weights @ margins
    behind = margins / mean - 1
    margin = model.unit * np.min(margins)
    drift = theta - multipliers @ gradients
    # From theta = sum mu grad z / unit to the problem of unit margin.
    lengths = (model.unit * mean) ** (-1 / degree)
    pulls = multipliers / model.unit * (model.unit * mean) ** (1 - 2 / degree)
    return Residuals(
        theta=theta,
        margin=float(margin),
        active=np.flatnonzero(margins <= np.min(margins) * (1 + ON_MARGIN)),
        multipliers=pulls,
        stationarity=float(lengths * np.linalg.norm(drift)),
        drift=float(np.linalg.norm(drift)),
        infeasibility=float(max(0.0, -np.min(behind))),
        slack=float(np.max(pulls * np.abs(behind))),
        slack_sum=float(np.sum(pulls * np.abs(behind))),
        gap=float(np.min(weights + np.maximum(behind, 0.0))),
    )
