"""How a trajectory lies in a file: names, dimensions, and what they mean.

Names are letters, digits and underscores, as the CF conventions ask; all numbers are
float64 and have no unit, so that `units` is "1" throughout.
"""

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _tree
from .._field import Field
from .._flow import AbstractFlow
from .._results import RESULTS


FORMAT = 3
"""Raised when files of an older gflow can no longer be read by a newer one."""

CURVE = {  # dimensions, and the meaning
    "tau": (("time",), "clock of the solver"),
    "log_t": (("time",), "natural logarithm of physical time"),
    "log_radius": (("time",), "natural logarithm of the norm of all weights"),
    "log_loss": (("time",), "natural logarithm of the mean loss"),
    "weights": (("time", "margin"), "pull q of each margin on the flow"),
}
"""The fields of a `Trajectory` that are arrays."""

STEPS = {
    "nodes": (
        ("step", "quarter", "coordinate"),
        "weights in the frame of a step, whose start has norm one, at its quarters",
    ),
    "rates": (("step", "coordinate"), "growth of each weight's frame over a step"),
    "growth": (("step",), "growth of the log-radius of the frame over a step"),
    "log_radius": (("step",), "log-radius at the end of a step"),
    "tau": (("step",), "clock of the solver at the end of a step"),
    "log_t": (("step",), "natural logarithm of physical time at the end of a step"),
    "log_loss": (("step",), "natural logarithm of the mean loss at the end of a step"),
    "weights": (
        ("step", "quarter", "margin"),
        "pull of each margin at the quarters of a step",
    ),
}
"""The fields of `Steps` that are arrays, under `step_` and their name."""

SCALARS = {
    "length": (("step",), "length of a step of the clock of the solver"),
    "log_radius": (("step", "sixth"), "log-radius at the sixths of a step"),
    "rate": (("step", "sixth"), "log(dt/ds) / (1 + R), but for the power"),
    "tau_rate": (("step", "sixth"), "log(dtau/ds)"),
    "loss": (("step", "sixth"), "-log(loss) / (1 + R), or / 2"),
    "degree": (("step",), "degree of homogeneity"),
    "exponent": (("step",), "power of the norm in R"),
    "loss_exponent": (("step",), "power of the norm in R for the loss, or 0"),
    "power": (("step",), "power of the norm in dt/ds"),
}
"""The fields of its `StepScalars`, likewise with `step_scalar_`."""

TURNS = {
    "turn_tau": (("turn",), "clock of the solver where gates of kinks change"),
    "turn_gates": (("turn", "byte"), "the gates from there on, eight to a byte"),
    "slides": (("block", "slide"), "kinks that are slid along at the end; -1 for none"),
    "slide_normals": (
        ("block", "slide", "coordinate_of_block"),
        "directions that nothing moves along",
    ),
}
"""What is known of kinks, if there are any."""

OUTCOMES = (
    *("successful", "interrupted", "out_of_steps", "step_underflow"),
    *("critical_point", "unresolved", "vanishing"),
)
"""The names of the `RESULTS` of a solve: the items do not know them."""


@dataclasses.dataclass(frozen=True)
class Part:
    """An array of a network.

    Attributes:
        name: Of the variable in the file.
        path: In the network, as Python writes it.
        value: The array.
    """

    name: str
    path: str
    value: np.ndarray

    def dimensions(self, skipped: int = 0) -> tuple[str, ...]:
        """A name for each axis but the first `skipped`, counted from there."""
        axes = range(self.value.ndim - skipped)
        return tuple(f"{self.name}_axis_{axis}" for axis in axes)


def moving(network: PyTree) -> list[Part]:
    """The weights of a network, in the order in which a point of weight space does."""
    return _parts(_tree.partition(network)[0], "direction")


def still(network: PyTree) -> list[Part]:
    """All other arrays of a network."""
    return _parts(eqx.filter(_tree.partition(network)[1], _is_numeric), "fixed")


def _is_numeric(leaf) -> bool:
    """Whether a file can hold it: random keys, functions and text are left out."""
    return eqx.is_array_like(leaf) and np.asarray(leaf).dtype.kind in "biuf"


def _parts(tree: PyTree, prefix: str) -> list[Part]:
    parts, seen = [], {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        text = jax.tree_util.keystr(path)
        name = re.sub(r"[^0-9A-Za-z]+", "_", prefix + text).strip("_")
        seen[name] = seen.get(name, 0) + 1
        unique = name if seen[name] == 1 else f"{name}__{seen[name]}"
        parts.append(Part(unique, text, np.asarray(leaf)))
    return parts


def settings(flow: AbstractFlow) -> dict[str, str]:
    """What a flow is but for its data, in words that two alike flows share."""
    return {"flow": _text(flow, ("loss", "x", "y")), "loss": _text(flow.loss, ())}


def _text(module, left_out) -> str:
    fields = [f.name for f in dataclasses.fields(module) if f.name not in left_out]
    values = {name: getattr(module, name) for name in fields}
    values = {
        name: value.tolist() if eqx.is_array(value) else value
        for name, value in values.items()
    }
    inner = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return f"{type(module).__name__}({inner})"


def outcome(result: RESULTS) -> str:
    """The name of a result."""
    return next(name for name in OUTCOMES if bool(getattr(RESULTS, name) == result))


def end_margins(field: Field, point: np.ndarray) -> np.ndarray:
    """The margins of a direction, by which a network is known again."""
    return np.asarray(eqx.filter_jit(field.margins)(jnp.asarray(point)))
