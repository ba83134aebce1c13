import json
import math

import jax
import numpy as np
import xarray as xr

from .. import _tree
from .._described import VERSION, clock_name, end_margins, moving, settings, still
from .._observables import Observables, named
from .._trajectory import Trajectory
from .layout import CURVE, FORMAT, OBSERVABLE, SCALARS, SEEN, STEPS, TURNS


def dataset(curve: Trajectory) -> xr.Dataset:
    """The trajectory, its dense output and its data, each array with its meaning."""
    flow = curve.field.flow
    variables = {
        name: _variable(dims, getattr(curve, name), meaning)
        for name, (dims, meaning) in CURVE.items()
    }
    for part in moving(curve.direction):
        meaning = f"weights of the network{part.path}, of norm one over all weights"
        variables[part.name] = _variable(
            ("time", *part.dimensions(1)), part.value, meaning, path=part.path
        )
    for part in still(curve.direction):
        variables[part.name] = _variable(
            part.dimensions(), part.value, f"network{part.path}", path=part.path
        )
    if curve.steps is not None:
        for name, (dims, meaning) in STEPS.items():
            value = getattr(curve.steps, name)
            variables[f"step_{name}"] = _variable(dims, value, meaning)
        for name, (dims, meaning) in SCALARS.items():
            value = getattr(curve.steps.scalars, name)
            variables[f"step_scalar_{name}"] = _variable(dims, value, meaning)
    if curve.turns:
        gates = curve.field.gates
        values = {
            "turn_tau": [tau for tau, _ in curve.turns],
            "turn_gates": np.stack([packed for _, packed in curve.turns]),
            "slides": gates.slides,
            "slide_normals": gates.normals,
        }
        for name, (dims, meaning) in TURNS.items():
            variables[name] = _variable(dims, values[name], meaning)
    if curve.observables is not None:
        variables |= _observed(curve.observables)
    for name, value, meaning in (("x", flow.x, "inputs"), ("y", flow.y, "labels")):
        axes = tuple(f"{name}_axis_{axis}" for axis in range(1, value.ndim))
        variables[name] = _variable(("sample", *axes), value, meaning)
    if len(curve.tau):
        leaves = jax.tree.leaves(_tree.parameters(curve.direction))
        point = np.concatenate([np.asarray(leaf[-1]).ravel() for leaf in leaves])
        variables["end_margins"] = _variable(
            ("margin",),
            end_margins(curve.field, point),
            "margins of the network whose weights are the last direction",
        )
    variables["margin_sample"] = _variable(
        ("margin",),
        np.repeat(np.arange(flow.samples), flow.per_sample),
        "sample that a margin belongs to",
    )
    found = xr.Dataset(variables, attrs=_attributes(curve))
    return found.set_coords(["tau", "log_t", "margin_sample"])


def _observed(found: Observables) -> dict[str, xr.Variable]:
    variables = {
        f"observed_{name}": _variable(("observed",), getattr(found, name), meaning)
        for name, meaning in SEEN.items()
    }
    for name, value in named(found.values).items():
        axes = tuple(f"{OBSERVABLE}{name}_{axis}" for axis in range(1, value.ndim))
        variables[OBSERVABLE + name] = xr.Variable(
            ("observed", *axes), value, {"long_name": f"what was observed: {name}"}
        )
    return variables


def _variable(dims, value, meaning: str, **attributes: str) -> xr.Variable:
    attributes = {"long_name": meaning, "units": "1", **attributes}
    return xr.Variable(dims, np.asarray(value), attributes)


def _attributes(curve: Trajectory) -> dict:
    return {
        "title": "gradient flow of a neural network",
        "source": f"gflow {VERSION}",
        "gflow_format": FORMAT,
        **settings(curve.field.flow),
        "clock": clock_name(curve.field.clock),
        "degree": math.nan if curve.degree is None else curve.degree,
        "result": curve.result.name,
        "result_message": curve.result.value,
        "stats": json.dumps(curve.stats, default=lambda value: value.item()),
    }
