"""Checkpoints: a run as arrays and settings in one file, which NumPy can read.

It holds no Python objects. The code comes from the caller of `resume`, and is compared
with what the file says of it.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .. import _tree
from .._clock import choose_field
from .._described import (
    VERSION,
    Record,
    clock_name,
    clock_of,
    gives,
    record_of,
    require_same,
    spelled,
)
from .._field import Field
from .._flow import AbstractFlow
from .._log_time import StepScalars
from .._observables import Observables, named, stacked, unnamed
from .._slides import with_gates
from .._solvers import Switching, prepare
from .._steps import Sample, Steps
from .._until import SaveAt, Until
from ..clocks import AbstractClock
from . import _loop
from ._archive import read_whole, write_whole
from ._carry import controller, tolerance
from ._modes import Lost
from ._run import Run


FORMAT = 18
"""Raised when a run is made of other parts, and older files can no longer go on."""

PLAIN = ("rtol", "atol", "max_steps", "verdict", "turns", "turned_at")
PLAIN += ("compile_seconds", "run_seconds", "event_side")
PLAIN += ("memory", "stride", "filed", "known_until")
PLAIN += ("unwatched", "balanced")
"""The numbers and words of a run."""


def write(path: Path, run: Run) -> None:
    """Save a run; the file is complete or as it was, however the program ends.

    Raises:
        OSError: If it cannot be written.
    """
    arrays = _arrays(run if run.ahead is None else run.ahead)
    write_whole(path, arrays)


def read(
    path: Path,
    flow: AbstractFlow,
    network: PyTree,
    clock: AbstractClock | None,
    solver: dfx.AbstractAdaptiveSolver | None,
    until: Until | None,
    save: SaveAt | None,
) -> Run:
    """Read a run back, and make it anew of its flow and its network.

    Its `until` is the old one, with the event of the new one.

    Raises:
        ValueError: If the file is missing, damaged, or of another format; or of another
            flow, network, clock, solver or `save`.
    """
    arrays = _arrays_of(path)
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
    solver = prepare(Switching() if solver is None else solver, about["rtol"])
    if spelled(solver) != about["solver"]:
        raise ValueError(
            f"`solver` must be that of the solve, {about['solver']}, but is "
            f"{spelled(solver)}."
        )
    like = eqx.filter_eval_shape(
        _loop.begin, field, solver, controller(about["rtol"]),
        tolerance(about["rtol"], about["atol"]),
        *field.coordinates.start(_tree.vector(network)),
    )  # fmt: skip
    carry, start = _filled(like, "carry", arrays)
    start = jax.tree.map(np.asarray, start)
    run = Run(
        field=field, degree=degree, solver=solver, start=start, carry=carry,
        weights=arrays["weights"], until=_until(about, until), save=_save(about, save),
        steps=_chunks("steps", arrays), saved=_chunks("saved", arrays),
        seen=_seen(arrays),
        lost=Lost(about["faded"], arrays["grown"]),
        **{name: about[name] for name in PLAIN},
    )  # fmt: skip
    run.gates = [
        (float(tau), bits)
        for tau, bits in zip(arrays["turn_tau"], arrays["turn_gates"], strict=True)
    ]
    _require_function(run)
    return run


def _until(about: dict, given: Until | None) -> Until:
    event = None if given is None else given.event
    if about["event"] and event is None:
        raise ValueError(
            "`until` must be given with its event once more: a checkpoint holds no "
            "functions."
        )
    return Until(**about["until"], event=event if about["event"] else None)


def _save(about: dict, given: SaveAt | None) -> SaveAt | None:
    times = about["save"]
    if not about["observables"]:
        if given is not None:
            raise ValueError(
                "`save` must be left out: the checkpoint knows what the solve keeps."
            )
        return None if times is None else SaveAt(**times)
    if given is None or given.observables is None or _times(given) != times:
        raise ValueError(
            "`save` must be that of the solve, with its observables: a checkpoint "
            f"holds no functions. Its times are {times or 'those of the steps'}."
        )
    return given


def _times(save: SaveAt | None) -> dict | None:
    if save is None:
        return None
    return {} if save.at_steps else {save.name: save.times.tolist()}


def _arrays(run: Run) -> dict[str, Any]:
    """All that a run is, as named arrays."""
    network = run.field.network(jnp.asarray(run.start.point[:-1]))
    record = record_of(run.field.flow, network)
    fixed = {path: f"fixed_{k}" for k, path in enumerate(record.fixed)}
    about = {
        "format": FORMAT,
        "source": f"gflow {VERSION}",
        "settings": record.settings,
        "shapes": record.shapes,
        "fixed": fixed,
        "clock": clock_name(run.field.clock),
        "solver": spelled(run.solver),
        "until": run.until.levels(),
        "event": run.until.event is not None,
        "save": _times(run.save),
        "observables": run.save is not None and run.save.observables is not None,
        "faded": run.lost.faded,
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
        **_seen_arrays(run.seen),
        "grown": run.lost.grown,
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


_KEPT = ("tau", "log_t", "log_radius", "log_loss")


def _seen_arrays(chunks: list[Observables]) -> dict[str, np.ndarray]:
    """What was observed, by name."""
    if not chunks:
        return {}
    whole = stacked(chunks)
    values = {f"value_{name}": v for name, v in named(whole.values).items()}
    values |= {name: getattr(whole, name) for name in _KEPT}
    return {f"seen_{name}": np.asarray(value) for name, value in values.items()}


def _seen(arrays: dict[str, np.ndarray]) -> list[Observables]:
    if "seen_tau" not in arrays:
        return []
    start = "seen_value_"
    values = {
        k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)
    }
    kept = {name: arrays[f"seen_{name}"] for name in _KEPT}
    return [Observables(**kept, values=unnamed(values))]


def _like(kind: Any) -> PyTree:
    """An instance with a leaf in each field, scalars of steps included."""
    fields: dict[str, Any] = {field.name: 0 for field in dataclasses.fields(kind)}
    if kind is Steps:
        fields["scalars"] = _like(StepScalars)
    return kind(**fields)


def _arrays_of(path: Path) -> dict[str, np.ndarray]:
    arrays = read_whole(path)
    about = json.loads(str(arrays["about"]))
    if about["format"] != FORMAT:
        raise ValueError(
            f"`path` must be a checkpoint of format {FORMAT}, which gflow {VERSION} "
            f"reads, but {path} has format {about['format']}, written by "
            f"{about['source']}. Go on with that version."
        )
    return arrays


def _require_function(run: Run) -> None:
    """Refuse a network that computes something else, as of another activation."""
    field: Field = with_gates(run.field, run.carry.gates)
    if not gives(field, *map(np.asarray, (run.carry.point, run.carry.margins))):
        raise ValueError(
            "`network` must be that of the solve, but gives other margins at the "
            "weights in the file. Is its activation another?"
        )
