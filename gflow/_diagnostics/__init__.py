"""Diagnostics: from a flow and one network to a number; `Trajectory.map` vectorizes."""

from .alignment import alignment as alignment, turning as turning
from .balance import (
    balance_matrices as balance_matrices,
    imbalance as imbalance,
    neuron_balance as neuron_balance,
)
from .bregman import bregman_residual as bregman_residual
from .clarke import (
    MinNormSubgradient as MinNormSubgradient,
    min_norm_subgradient as min_norm_subgradient,
    min_norm_subgradients as min_norm_subgradients,
)
from .clarke_kkt import (
    clarke_kkt_residual as clarke_kkt_residual,
    clarke_kkt_residuals as clarke_kkt_residuals,
)
from .dual import (
    dual_weights as dual_weights,
    gradient_alignments as gradient_alignments,
    slacks as slacks,
    support as support,
)
from .gradients import (
    GradientParts as GradientParts,
    loss_gradient as loss_gradient,
    smoothed_margin_gradient as smoothed_margin_gradient,
)
from .kernel import kernel_change as kernel_change, tangent_kernel as tangent_kernel
from .kkt import KKTResidual as KKTResidual, kkt_residual as kkt_residual
from .kkt_tightest import (
    tightest_kkt_residual as tightest_kkt_residual,
    tightest_kkt_residuals as tightest_kkt_residuals,
)
from .layer_alignment import layer_alignments as layer_alignments
from .margin_growth import MarginGrowth as MarginGrowth, margin_growth as margin_growth
from .margins import (
    normalized_margin as normalized_margin,
    smoothed_margin as smoothed_margin,
)
from .modified_margin import modified_margin as modified_margin
from .neurons import (
    neuron_directions as neuron_directions,
    neuron_shares as neuron_shares,
)
from .norm_margin import norm_margin as norm_margin, steepest_margin as steepest_margin
from .norm_product import norm_product_margin as norm_product_margin
from .path_length import path_length as path_length
from .patterns import (
    activation_patterns as activation_patterns,
    pattern_distance as pattern_distance,
)
from .product import product_direction as product_direction
from .rates import (
    log_loss_constant as log_loss_constant,
    log_radius_constant as log_radius_constant,
)
from .rotation import (
    log_distance as log_distance,
    neuron_rotations as neuron_rotations,
    rotation as rotation,
)
from .saliency import saliency as saliency
from .spectra import (
    rank_one_residuals as rank_one_residuals,
    spectral_ratios as spectral_ratios,
    stable_ranks as stable_ranks,
)
