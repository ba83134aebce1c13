"""Networks of any depth, power and scale."""

import math
from collections.abc import Sequence

import hypothesis.strategies as st
import jax
from hypothesis import note

from ... import _tree
from ...nn import MLP, AbstractHomogeneous, DeepLinear, ResidualMLP
from ...nn._weights import OutSize
from ._data import SEEDS


POWERS = (1, 2, 3, 1.5)
LEAKS = (0.0, 0.1, 1.0, -1.0)
LEAST_SCALE, LARGEST_SCALE = 1e-100, 30.0


@st.composite
def networks(
    draw: st.DrawFn,
    in_size: int = 3,
    out_size: OutSize = "scalar",
    *,
    depth: tuple[int, int] = (1, 4),
    width: tuple[int, int] = (1, 6),
    powers: Sequence[int | float] = POWERS,
    leaks: Sequence[float] = LEAKS,
    scale: tuple[float, float] = (LEAST_SCALE, LARGEST_SCALE),
    residual: bool = True,
) -> AbstractHomogeneous:
    """A homogeneous network of `gflow.nn`: linear, fully connected or residual.

    Args:
        in_size: The number of features.
        out_size: "scalar", or the number of logits.
        depth: The least and the most layers of weights.
        width: The least and the most units of a hidden layer.
        powers: Of the activation: 1 has kinks, 2 and more have none; without any, only
            linear networks are drawn.
        leaks: Slopes of the activation on the left: 0 is ReLU, -1 the absolute value.
        scale: The least and the largest factor of Gaussian weights of variance 1 / in;
            drawn as a logarithm.
        residual: Whether to draw `gflow.nn.ResidualMLP` too, with ReLUs of `powers`.

    Returns:
        The network.

    Raises:
        ValueError: If `depth` or `scale` is out of its range.

    Example:
        `@hypothesis.given(networks(4, powers=(1,), scale=(1.0, 1.0)))` for ReLUs
    """
    if not 1 <= depth[0] <= depth[1]:
        raise ValueError(f"`depth` must hold 1 <= least <= most, but is {depth}.")
    if not 0 < scale[0] <= scale[1] < math.inf:
        raise ValueError(f"`scale` must hold 0 < least <= most, but is {scale}.")
    layers, seed = draw(st.integers(*depth)), draw(SEEDS)
    kinds = ["linear"] + ["mlp"] * (layers > 1 and len(powers) > 0)
    kinds += ["residual"] * (layers > 2 and residual and len(powers) > 0)
    kind, key = draw(st.sampled_from(kinds)), jax.random.key(seed)
    widths = tuple(draw(st.integers(*width)) for _ in range(layers - 1))
    end = f"key=jax.random.key({seed}))"
    if kind == "linear":
        network = DeepLinear(in_size, widths, out_size, key=key)
        text = f"gflow.nn.DeepLinear({in_size}, {widths}, {out_size!r}, {end}"
    elif kind == "mlp":
        power, leak = draw(st.sampled_from(powers)), draw(st.sampled_from(leaks))
        network = MLP(in_size, widths, out_size, power, leak, key=key)
        sizes = f"{in_size}, {widths}, {out_size!r}, {power}, {leak}"
        text = f"gflow.nn.MLP({sizes}, {end}"
    else:
        power, blocks = draw(st.sampled_from(powers)), layers - 2
        network = ResidualMLP(
            in_size, widths[0], blocks, out_size, power=power, key=key
        )
        sizes = f"{in_size}, {widths[0]}, {blocks}, {out_size!r}, power={power}"
        text = f"gflow.nn.ResidualMLP({sizes}, {end}"
    factor = draw(_factors(*scale))
    note(f"network = {text}\nnetwork = jax.tree.map(lambda w: {factor} * w, network)")
    return _tree.scale(network, factor)


def _factors(least: float, most: float) -> st.SearchStrategy[float]:
    """Numbers drawn by their logarithm, that nearest to one first."""
    low, high = math.log10(least), math.log10(most)
    if low == high:
        return st.just(least)
    powers = st.floats(low, high, allow_subnormal=False)
    return powers.map(lambda p: min(max(10.0**p, least), most))
