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
from .._described import Record, clock_of, gives, moving, require_same
from .._field import Field
from .._flow import AbstractFlow
from .._log_time import StepScalars
from .._observables import Observables, unnamed
from .._results import RESULTS
from .._sides import Gates, unpacked
from .._slides import with_gates
from .._steps import Sample, Steps
from .._trajectory import Trajectory, trajectory
from ..clocks import AbstractClock
from .layout import CURVE, FORMAT, OBSERVABLE, SCALARS, SEEN, STEPS, TURNS
from .write import read


def load(
    path: str | Path,
    flow: AbstractFlow,
    network: PyTree,
    clock: AbstractClock | None,
) -> Trajectory:
    """Read a trajectory back, of the flow and the kind of network that it was of."""
    stored = _stored(Path(path))
    require_same(_record(stored), flow, network)
    clock = clock_of(str(stored.attrs["clock"]), clock)
    degree = float(stored.attrs["degree"])
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
        RESULTS[str(stored.attrs["result"])],
        json.loads(stored.attrs["stats"]),
        _steps(stored),
        turns,
        _observables(stored),
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
    on, _ = unpacked(packed[-1:], shape)
    gates = Gates(jnp.asarray(on[0]), jnp.asarray(slides), jnp.asarray(normals))
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


def _observables(stored: xr.Dataset) -> Observables | None:
    if "observed_tau" not in stored:
        return None
    values = {
        str(name).removeprefix(OBSERVABLE): stored[name].values
        for name in stored.variables
        if str(name).startswith(OBSERVABLE)
    }
    kept: dict[str, Any] = {name: stored[f"observed_{name}"].values for name in SEEN}
    return Observables(**kept, values=unnamed(values))


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
    if version != FORMAT or stored.attrs["result"] not in RESULTS.__members__:
        raise ValueError(
            f"`path` must be a file of format {FORMAT}, but {path} has format "
            f"{version}, written by {stored.attrs['source']}. Use that version."
        )
    return stored


def _record(stored: xr.Dataset) -> Record:
    """What the file says of its flow and its network."""
    parts = [
        (str(name), str(variable.attrs["path"]), variable.values)
        for name, variable in stored.variables.items()
        if "path" in variable.attrs
    ]
    return Record(
        settings={name: str(stored.attrs[name]) for name in ("flow", "loss")},
        x=stored["x"].values,
        y=stored["y"].values,
        shapes={
            path: value.shape[1:]
            for name, path, value in parts
            if name.startswith("direction")
        },
        fixed={path: value for name, path, value in parts if name.startswith("fixed")},
    )


def _require_function(stored: xr.Dataset, field: Field, points: np.ndarray) -> None:
    """Refuse a network with other outputs, such as one of another activation."""
    if len(points) == 0:
        return
    if not gives(field, points[-1, :-1], stored["end_margins"].values):
        raise ValueError(
            "`network` must be that of the solve, but gives other margins at the "
            "weights in the file. Is its activation another, or its degree "
            f"{_degree(field)}?"
        )


def _degree(field: Field) -> str:
    degree = float(field.degree)
    return "none" if math.isnan(degree) else f"not {degree:g}"
