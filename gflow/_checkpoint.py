"""Checkpoints: a run as arrays and settings in one file, which NumPy can read.

It holds no Python objects. The code comes from the caller of `resume`, and is compared
with what the file says of it.
"""

import dataclasses
import hashlib
import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from . import _loop, _tree
from ._carry import controller, tolerance
from ._clock import choose_field
from ._described import (
    VERSION,
    Record,
    clock_name,
    clock_of,
    record_of,
    require_same,
)
from ._field import Field, start_of
from ._flow import AbstractFlow
from ._log_time import StepScalars
from ._run import Run
from ._slides import with_gates
from ._solvers import SampleSpaceKvaerno5, prepare
from ._steps import Sample, Steps
from ._until import SaveAt, Until
from .clocks import AbstractClock


FORMAT = 9
"""Raised when a run is made of other parts, and older files can no longer go on."""

SAME = 1e-9
"""Margins at the same weights, relative to the largest: more is another function."""

PLAIN = ("rtol", "atol", "max_steps", "verdict", "turns", "turned_at")
PLAIN += ("compile_seconds", "run_seconds")
"""The numbers and words of a run."""


def write(path: Path, run: Run) -> None:
    """Save a run; the file is complete or as it was, however the program ends.

    Raises:
        OSError: If it cannot be written.
    """
    arrays = _arrays(run if run.ahead is None else run.ahead)
    arrays["digest"] = np.array(_digest(arrays))
    content = io.BytesIO()
    np.savez(content, **arrays)
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(
    path: Path,
    flow: AbstractFlow,
    network: PyTree,
    clock: AbstractClock | None,
    solver: dfx.AbstractAdaptiveSolver | None,
) -> Run:
    """Read a run back, and make it anew of its flow and its network.

    Raises:
        ValueError: If the file is missing, damaged, or of another format; or of another
            flow, network, clock or solver.
    """
    arrays = _stored(path)
    about = json.loads(str(arrays["about"]))
    shapes = {where: tuple(shape) for where, shape in about["shapes"].items()}
    fixed = {where: arrays[name] for where, name in about["fixed"].items()}
    record = Record(about["settings"], arrays["x"], arrays["y"], shapes, fixed)
    require_same(record, flow, network)
    if not np.array_equal(_tree.vector(network), arrays["weights"]):
        raise ValueError(
            "`network` must have the weights that the solve started from, but has "
            "others. Make it as it was made for the solve, with the same key."
        )
    field, degree = choose_field(flow, network, clock_of(about["clock"], clock))
    solver = prepare(SampleSpaceKvaerno5() if solver is None else solver, about["rtol"])
    if _text(solver) != about["solver"]:
        raise ValueError(
            f"`solver` must be that of the solve, {about['solver']}, but is "
            f"{_text(solver)}."
        )
    like = eqx.filter_eval_shape(
        _loop.begin, field, solver, controller(about["rtol"]),
        tolerance(about["rtol"], about["atol"]), *start_of(field, network),
    )  # fmt: skip
    carry, start = _filled(like, "carry", arrays)
    start = jax.tree.map(np.asarray, start)
    run = Run(
        field=field, degree=degree, solver=solver, start=start, carry=carry,
        weights=arrays["weights"], until=Until(**about["until"]),
        save=about["save"] and SaveAt(**about["save"]),
        steps=_chunks("steps", arrays), saved=_chunks("saved", arrays),
        lost=arrays["lost"], **{name: about[name] for name in PLAIN},
    )  # fmt: skip
    run.gates = [
        (float(tau), bits)
        for tau, bits in zip(arrays["turn_tau"], arrays["turn_gates"], strict=True)
    ]
    _require_function(run)
    return run


def _arrays(run: Run) -> dict[str, Any]:
    """All that a run is, as named arrays."""
    network = run.field.network(jnp.asarray(run.start.point[:-1]))
    record = record_of(run.field.flow, network)
    fixed = {path: f"fixed_{k}" for k, path in enumerate(record.fixed)}
    save = run.save and {run.save.name: run.save.times.tolist()}
    about = {
        "format": FORMAT,
        "source": f"gflow {VERSION}",
        "settings": record.settings,
        "shapes": record.shapes,
        "fixed": fixed,
        "clock": clock_name(run.field.clock),
        "solver": _text(run.solver),
        "until": dataclasses.asdict(run.until),
        "save": save,
        **{name: getattr(run, name) for name in PLAIN},
    }
    bits = [bits for _, bits in run.gates]
    return {
        "about": np.array(json.dumps(about, default=lambda value: value.item())),
        "x": record.x,
        "y": record.y,
        "weights": run.weights,
        **{name: record.fixed[path] for path, name in fixed.items()},
        **_leaves("carry", (run.carry, run.start)),
        **_stacked("steps", run.steps),
        **_stacked("saved", run.saved),
        "lost": run.lost,
        "turn_tau": np.array([tau for tau, _ in run.gates]),
        "turn_gates": np.stack(bits) if bits else np.zeros((0, 0), np.uint8),
    }


def _leaves(name: str, tree: PyTree) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves(tree)
    return {f"{name}_{k}": np.asarray(leaf) for k, leaf in enumerate(leaves)}


def _filled(like: PyTree, name: str, arrays: dict[str, np.ndarray]) -> PyTree:
    """A tree of this structure, of the arrays of this name."""
    leaves, structure = jax.tree.flatten(like)
    stored = [jnp.asarray(arrays[f"{name}_{k}"]) for k in range(len(leaves))]
    return jax.tree.unflatten(structure, stored)


KINDS = {"steps": Steps, "saved": Sample}


def _stacked(name: str, chunks: list) -> dict[str, np.ndarray]:
    """Chunks of steps or samples as one, and how many are in each."""
    sizes = np.array([len(chunk.tau) for chunk in chunks], int)
    if not chunks:
        return {f"{name}_sizes": sizes}
    whole = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
    return {f"{name}_sizes": sizes, **_leaves(name, whole)}


def _chunks(name: str, arrays: dict[str, np.ndarray]) -> list:
    sizes = arrays[f"{name}_sizes"]
    if sizes.size == 0:
        return []
    count = sum(key.startswith(f"{name}_") for key in arrays) - 1
    leaves = [arrays[f"{name}_{k}"] for k in range(count)]
    structure = jax.tree.structure(_like(KINDS[name]))
    parts = [np.split(leaf, np.cumsum(sizes)[:-1]) for leaf in leaves]
    return [jax.tree.unflatten(structure, part) for part in zip(*parts, strict=True)]


def _like(kind: Any) -> PyTree:
    """An instance with a leaf in each field, scalars of steps included."""
    fields: dict[str, Any] = {field.name: 0 for field in dataclasses.fields(kind)}
    if kind is Steps:
        fields["scalars"] = _like(StepScalars)
    return kind(**fields)


def _digest(arrays: dict[str, Any]) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _stored(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise ValueError(
            f"`path` must be a checkpoint file, but {path} does not exist."
        )
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        whole = str(arrays.pop("digest")) == _digest(arrays)
        about = json.loads(str(arrays["about"]))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`path` must be a whole checkpoint that `gflow.solve` wrote, but {path} "
            f"is none, or is damaged ({path.stat().st_size} bytes): {error}"
        ) from error
    if not whole:
        raise ValueError(
            f"`path` must be a whole checkpoint, but {path} is damaged: its digest is "
            "another. Start again, or from a copy."
        )
    if about["format"] != FORMAT:
        raise ValueError(
            f"`path` must be a checkpoint of format {FORMAT}, which gflow {VERSION} "
            f"reads, but {path} has format {about['format']}, written by "
            f"{about['source']}. Go on with that version."
        )
    return arrays


def _text(solver: dfx.AbstractAdaptiveSolver) -> str:
    return eqx.tree_pformat(solver, short_arrays=False, width=10**6)


def _require_function(run: Run) -> None:
    """Refuse a network that computes something else, as of another activation."""
    field: Field = with_gates(run.field, run.carry.gates)
    found = np.asarray(eqx.filter_jit(field.margins)(run.carry.point))
    expected = np.asarray(run.carry.margins)
    size = np.max(np.abs(expected), initial=0.0)
    if found.shape != expected.shape or np.any(np.abs(found - expected) > SAME * size):
        raise ValueError(
            "`network` must be that of the solve, but gives other margins at the "
            "weights in the file. Is its activation another?"
        )
