"""The gradient flow of homogeneous networks, from tiny weights to its limit."""

from . import data as data, nn as nn, problems as problems, reference as reference
from ._degree import degree as degree
from ._descent import (
    AbstractDescentMethod as AbstractDescentMethod,
    Descent as Descent,
    GradientDescent as GradientDescent,
    LossScaledDescent as LossScaledDescent,
    Point as Point,
    descend as descend,
)
from ._diagnostics import (
    GradientParts as GradientParts,
    KKTResidual as KKTResidual,
    MarginGrowth as MarginGrowth,
    MinNormSubgradient as MinNormSubgradient,
    activation_patterns as activation_patterns,
    alignment as alignment,
    balance_matrices as balance_matrices,
    bregman_residual as bregman_residual,
    clarke_kkt_residual as clarke_kkt_residual,
    clarke_kkt_residuals as clarke_kkt_residuals,
    dual_weights as dual_weights,
    gradient_alignments as gradient_alignments,
    imbalance as imbalance,
    kernel_change as kernel_change,
    kkt_residual as kkt_residual,
    layer_alignments as layer_alignments,
    log_distance as log_distance,
    log_loss_constant as log_loss_constant,
    log_radius_constant as log_radius_constant,
    loss_gradient as loss_gradient,
    margin_growth as margin_growth,
    min_norm_subgradient as min_norm_subgradient,
    min_norm_subgradients as min_norm_subgradients,
    modified_margin as modified_margin,
    neuron_balance as neuron_balance,
    neuron_directions as neuron_directions,
    neuron_rotations as neuron_rotations,
    neuron_shares as neuron_shares,
    norm_margin as norm_margin,
    norm_product_margin as norm_product_margin,
    normalized_margin as normalized_margin,
    path_length as path_length,
    pattern_distance as pattern_distance,
    product_direction as product_direction,
    rank_one_residuals as rank_one_residuals,
    rotation as rotation,
    saliency as saliency,
    slacks as slacks,
    smoothed_margin as smoothed_margin,
    smoothed_margin_gradient as smoothed_margin_gradient,
    spectral_ratios as spectral_ratios,
    stable_ranks as stable_ranks,
    steepest_margin as steepest_margin,
    support as support,
    tangent_kernel as tangent_kernel,
    tightest_kkt_residual as tightest_kkt_residual,
    tightest_kkt_residuals as tightest_kkt_residuals,
    turning as turning,
)
from ._drive import SolveError as SolveError
from ._flow import GradientFlow as GradientFlow, SteepestFlow as SteepestFlow
from ._kl import (
    Desingularization as Desingularization,
    Psi as Psi,
    desingularize as desingularize,
)
from ._limit import Limit as Limit, Verdict as Verdict, limit as limit
from ._load import load as load
from ._losses import (
    CrossEntropy as CrossEntropy,
    Exponential as Exponential,
    ExponentialTail as ExponentialTail,
    Logistic as Logistic,
    Square as Square,
)
from ._progress import AbstractMeter as AbstractMeter
from ._results import RESULTS as RESULTS
from ._solve import resume as resume, solve as solve
from ._solvers import (
    SampleSpaceKvaerno3 as SampleSpaceKvaerno3,
    SampleSpaceKvaerno5 as SampleSpaceKvaerno5,
)
from ._trajectory import Trajectory as Trajectory
from ._until import SaveAt as SaveAt, Until as Until
