"""Experiments: published results about gradient flow, each beside its measurement.

    found = gflow.experiments.half_learning_times(depth=2, scale=1e-100)
    print(found)  # the claim, its source, and predicted against measured
    found.holds, found.curve, found.rows

Each sets up a flow, follows it, and compares it with what a paper proves: a closed
form, the answer of a solver that shares no code with the flow's, or a bound. From a
shell, `python -m gflow.experiments` lists them, and `python -m gflow.experiments NAME`
runs one.

    early_alignment          small ReLU neurons align, and three points stay unfitted
    half_learning_times      a deep linear network learns mode after mode, on time
    kernel_to_rich           which solution a diagonal network finds, by its scale
    layer_alignment          deep linear layers: balance, rank one, the hard margin
    low_rank                 leaky ReLUs on nearly orthogonal data: two kinds of neurons
    margin_growth            the smoothed margin grows, the weights become a KKT point
    margin_rate              a linear classifier lacks a constant over log t
    steepest_margin          descent in a norm finds the largest margin in it
    directional_convergence  a path of finite length, and a Kurdyka-Lojasiewicz exponent
    mexican_hat              a direction that never converges
"""

from ._directional_convergence import (
    directional_convergence as directional_convergence,
)
from ._early_alignment import early_alignment as early_alignment
from ._finding import Finding as Finding, Row as Row
from ._half_learning import half_learning_times as half_learning_times
from ._kernel_to_rich import kernel_to_rich as kernel_to_rich
from ._layer_alignment import layer_alignment as layer_alignment
from ._low_rank import low_rank as low_rank
from ._margin_growth import margin_growth as margin_growth
from ._margin_rate import margin_rate as margin_rate
from ._mexican_hat import mexican_hat as mexican_hat
from ._steepest_margin import steepest_margin as steepest_margin
