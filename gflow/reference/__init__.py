"""Oracles: answers known without following any flow, for tests and comparisons."""

from ._closed_forms import (
    TwoWeights as TwoWeights,
    balanced_product_log_time as balanced_product_log_time,
    one_sample_margin as one_sample_margin,
    two_singular_values as two_singular_values,
    two_weights as two_weights,
)
from ._global_margin import (
    GlobalMargin as GlobalMargin,
    global_margin as global_margin,
)
from ._hard_margin import HardMargin as HardMargin, hard_margin as hard_margin
from ._kernel_margin import (
    KernelMargin as KernelMargin,
    kernel_margin as kernel_margin,
    neuron_kernel_margin as neuron_kernel_margin,
)
from ._min_norm_point import (
    MinNormPoint as MinNormPoint,
    min_norm_point as min_norm_point,
)
from ._nonnegative import nonnegative_multipliers as nonnegative_multipliers
