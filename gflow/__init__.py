"""The gradient flow of neural networks, from tiny weights to its limit.

    import jax; jax.config.update("jax_enable_x64", True)
    import gflow

    x, y = gflow.data.digits((3, 8), samples=100)
    net = gflow.nn.MLP(64, (10,), power=2, key=jax.random.key(0))
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    curve = gflow.solve(flow, net, until=gflow.Until(log_margin_scale=99.0))
    end = gflow.limit(curve)
    margins = curve.map(gflow.margins.normalized)

A flow is a loss, data and a norm; `solve` follows it and returns a `Trajectory`, a
sequence of `Point`s. Diagnostics are functions of one `Point`. They live in namespaces:

    gflow.margins   normalized, smoothed, in other norms; slacks and support
    gflow.kkt       residuals of the max-margin problem, alignment, subgradients
    gflow.paths     lengths, rotations, rates in time
    gflow.layers    balance, alignment and ranks of weight matrices
    gflow.neurons   directions, sizes and activation patterns of units
    gflow.kernels   the neural tangent kernel
    gflow.kl        Kurdyka-Lojasiewicz exponents and bounds of what is left
    gflow.nn        networks that know their degree and their units
    gflow.data      small labeled data sets
    gflow.problems  named problems, ready to solve
    gflow.reference exact answers to compare with: LPs, QPs, closed forms
    gflow.clocks    what `tau` counts
    gflow.norms     in what a flow is steepest
    gflow.solvers   the solvers of a step
    gflow.descent   gradient descent, to compare with
    gflow.experiments published results, each beside its measurement
    gflow.testing   checks of your own parts, another solver, Hypothesis strategies
    gflow.plot      pictures (needs matplotlib: `pip install '.[plot]'`)
"""

from . import (
    clocks as clocks,
    data as data,
    descent as descent,
    experiments as experiments,
    kernels as kernels,
    kkt as kkt,
    kl as kl,
    layers as layers,
    margins as margins,
    neurons as neurons,
    nn as nn,
    norms as norms,
    paths as paths,
    problems as problems,
    reference as reference,
    solvers as solvers,
    testing as testing,
)
from ._degree import degree as degree
from ._flow import (
    AbstractFlow as AbstractFlow,
    GradientFlow as GradientFlow,
    SteepestFlow as SteepestFlow,
)
from ._integrate._drive import SolveError as SolveError
from ._integrate._progress import AbstractMeter as AbstractMeter
from ._limit import (
    Certificate as Certificate,
    Limit as Limit,
    Stability as Stability,
    Verdict as Verdict,
    limit as limit,
)
from ._load import load as load
from ._losses import (
    AbstractLoss as AbstractLoss,
    AbstractMarginLoss as AbstractMarginLoss,
    CrossEntropy as CrossEntropy,
    Exponential as Exponential,
    ExponentialTail as ExponentialTail,
    Logistic as Logistic,
    Square as Square,
)
from ._point import Point as Point, point as point
from ._results import RESULTS as RESULTS
from ._solve import resume as resume, solve as solve
from ._sweep import sweep as sweep
from ._trajectory import Trajectory as Trajectory
from ._until import SaveAt as SaveAt, Until as Until
