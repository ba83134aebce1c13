import json
import math
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import PyTree

from .. import _tree
from .._field import Field
from .._flow import AbstractFlow
from .._log_time import StepScalars
from .._results import RESULTS
from .._sides import Gates
from .._slides import with_gates
from .._steps import Sample, Steps
from .._trajectory import Trajectory, trajectory
from .layout import (
    CURVE,
    FORMAT,
    OUTCOMES,
    SCALARS,
    STEPS,
    TURNS,
    end_margins,
    moving,
    settings,
    still,
)
from .write import read


ALIKE = 1e-9  # of the largest margin


def load(path: str | Path, flow: AbstractFlow, network: PyTree) -> Trajectory:
    """Read a trajectory back, of the flow and the kind of network that it was of."""
    stored = _stored(Path(path))
    _require_flow(stored, flow)
    _require_network(stored, network)
    degree, clock = float(stored.attrs["degree"]), str(stored.attrs["clock"])
    curve: dict[str, Any] = {name: stored[name].values for name in CURVE}
    log_radius = curve.pop("log_radius")
    leaves = [
        stored[part.name].values.reshape(len(log_radius), part.value.size)
        for part in moving(network)
    ]
    points: Any = np.concatenate([*leaves, log_radius[:, None]], axis=1)
    if len(points):  # the sides of kinks are those of the end
        network = _with_weights(network, points[-1, :-1])
    field, turns = _turned(stored, Field(flow, network, clock, degree))
    _require_function(stored, field, points)
    return trajectory(
        field,
        Sample(**curve, point=points),
        getattr(RESULTS, str(stored.attrs["result"])),
        json.loads(stored.attrs["stats"]),
        _steps(stored),
        turns,
    )


def _with_weights(network: PyTree, vector: np.ndarray) -> PyTree:
    weights, rest = _tree.partition(network)
    leaves, tree = jax.tree.flatten(weights)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = [
        jnp.asarray(part.reshape(leaf.shape))
        for part, leaf in zip(np.split(vector, ends), leaves, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(tree, parts), rest)


def _turned(stored: xr.Dataset, field: Field):
    """The field at the gates of the end, and where they changed before."""
    if "turn_tau" not in stored:
        return field, []
    times, packed, slides, normals = (stored[name].values for name in TURNS)
    shape = field.gates.on.shape
    on = np.unpackbits(packed[-1], count=shape[0] * shape[1]).reshape(shape)
    gates = Gates(jnp.asarray(on > 0), jnp.asarray(slides), jnp.asarray(normals))
    turns = [(float(t), bits) for t, bits in zip(times, packed, strict=True)]
    return with_gates(field, gates), turns


def _steps(stored: xr.Dataset) -> Steps | None:
    if "step_nodes" not in stored:
        return None
    scalars: dict[str, Any] = {
        name: stored[f"step_scalar_{name}"].values for name in SCALARS
    }
    steps: dict[str, Any] = {name: stored[f"step_{name}"].values for name in STEPS}
    return Steps(scalars=StepScalars(**scalars), **steps)


def _stored(path: Path) -> xr.Dataset:
    if not path.is_file():
        raise ValueError(
            f"`path` must be a file that `Trajectory.save` wrote, but {path} does not "
            "exist."
        )
    try:
        stored = read(path)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"`path` must be a file that `Trajectory.save` wrote, but {path} is no "
            f"netCDF file, or damaged: {error}"
        ) from error
    version = stored.attrs.get("gflow_format")
    if version is None:
        raise ValueError(
            f"`path` must be a file that `Trajectory.save` wrote, but {path} is a "
            "netCDF file of another origin."
        )
    if version != FORMAT or stored.attrs["result"] not in OUTCOMES:
        raise ValueError(
            f"`path` must be a file of format {FORMAT}, but {path} has format "
            f"{version}, written by {stored.attrs['source']}. Use that version."
        )
    return stored


def _require_flow(stored: xr.Dataset, flow: AbstractFlow) -> None:
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            "`flow` must be the `gflow.GradientFlow` or `gflow.SteepestFlow` that was "
            f"solved, but is {flow!r}."
        )
    for name, found in settings(flow).items():
        if stored.attrs[name] != found:
            what = "flow" if name == "flow" else f"flow.{name}"
            raise ValueError(
                f"`{what}` must be {stored.attrs[name]}, as in the file, but is "
                f"{found}."
            )
    for name, found in (("x", np.asarray(flow.x)), ("y", np.asarray(flow.y))):
        expected = stored[name].values
        if found.shape != expected.shape:
            raise ValueError(
                f"`flow.{name}` must have shape {expected.shape}, as in the file, but "
                f"has shape {found.shape}."
            )
        if not np.array_equal(found, expected):
            row = np.argmax(np.any((found != expected).reshape(len(found), -1), axis=1))
            raise ValueError(
                f"`flow.{name}` must be that of the file, but differs, first in sample "
                f"{row}. Pass the data of the solve."
            )


def _require_network(stored: xr.Dataset, network: PyTree) -> None:
    """Refuse a network whose arrays are not those of the file, in name and shape."""
    expected = {
        str(variable.attrs["path"]): variable.values
        for name, variable in stored.variables.items()
        if "path" in variable.attrs and str(name).startswith("direction")
    }
    found = {part.path: part.value for part in moving(network)}
    if list(found) != list(expected):
        raise ValueError(
            f"`network` must have the weights {_listed(expected)}, as in the file, but "
            f"has {_listed(found)}. Make it as it was made for the solve; its values "
            "do not matter."
        )
    for path, value in found.items():
        shape = expected[path].shape[1:]
        if value.shape != shape:
            raise ValueError(
                f"`network{path}` must have shape {shape}, as in the file, but has "
                f"shape {value.shape}."
            )
    fixed = {
        str(variable.attrs["path"]): variable.values
        for name, variable in stored.variables.items()
        if "path" in variable.attrs and str(name).startswith("fixed")
    }
    given = {part.path: part.value for part in still(network)}
    for path in sorted({*fixed, *given}):
        before, now = fixed.get(path), given.get(path)
        if before is None or now is None or not np.array_equal(before, now):
            raise ValueError(
                f"`network{path}` must be {_shown(before)}, as in the file, but is "
                f"{_shown(now)}."
            )


def _require_function(stored: xr.Dataset, field: Field, points: np.ndarray) -> None:
    """Refuse a network with other outputs, such as one of another activation."""
    if len(points) == 0:
        return
    expected = stored["end_margins"].values
    found = end_margins(field, points[-1, :-1])
    size = np.max(np.abs(expected), initial=0.0)
    if found.shape != expected.shape or not np.allclose(
        found, expected, rtol=0.0, atol=ALIKE * size, equal_nan=True
    ):
        raise ValueError(
            "`network` must be that of the solve, but gives other margins at the "
            "weights in the file. Is its activation another, or its degree "
            f"{_degree(field)}?"
        )


def _degree(field: Field) -> str:
    degree = float(field.degree)
    return "none" if math.isnan(degree) else f"not {degree:g}"


def _listed(paths) -> str:
    return ", ".join(f"`network{path}`" for path in paths) or "none"


def _shown(value: np.ndarray | None) -> str:
    if value is None:
        return "absent"
    return str(value.tolist()) if value.size == 1 else f"other values {value.shape}"
