"""Stages of twelve margins: flows, matrices, and how well weights solve theirs."""

import gflow
import jax.numpy as jnp
import numpy as np
from gflow._solvers._positive import DensePositive


BINARY = np.resize([1.0, -1.0], 12)
CLASSES = np.resize([0, 1, 2, 3], 4)
FLOWS = {
    "exponential": (gflow.Exponential(), BINARY),
    "logistic": (gflow.Logistic(), BINARY),
    "cross-entropy": (gflow.CrossEntropy(), CLASSES),
    "exponential of classes": (gflow.Exponential(), CLASSES),
    "tail 1/2": (gflow.ExponentialTail(0.5), BINARY),
    "tail 2": (gflow.ExponentialTail(2.0), BINARY),
}


def flow_of(name):
    """A flow with twelve margins."""
    loss, y = FLOWS[name]
    return gflow.GradientFlow(loss, np.ones((len(y), 1)), y)


SEEN = jnp.ones(12, bool)


def positive(gram):
    return DensePositive(jnp.asarray(gram))


def residual_of(flow, q, gram, shift, scale):
    """How far the logarithms of the weights are from their goal, and its rounding."""
    margins = scale * (shift + 0.3 * gram @ q)
    # Rounding of the margins, times the scale, is what the equation can be held to,
    # times the steepness of the tail.
    steepness = np.max(flow.loss.weight_slopes(margins.reshape(-1, flow.per_sample))[0])
    rounding = 1e-10 + 1e-14 * scale * max(float(steepness), 1.0)
    residual = np.log(q) - flow.log_weights(jnp.asarray(margins))
    return np.asarray(residual), rounding
