"""`solve`: from a flow and a network to a trajectory."""

import math
import time
from pathlib import Path

import diffrax as dfx
import jax
import numpy as np
from jaxtyping import PyTree

from . import _tree
from ._checks import require_concrete
from ._clock import choose_field
from ._compile import compiled
from ._flow import AbstractFlow
from ._integrate import _checkpoint, _loop
from ._integrate._budget import check_memory
from ._integrate._carry import controller, tolerance
from ._integrate._drive import drive
from ._integrate._progress import AbstractMeter, meter
from ._integrate._run import Run
from ._replacing import require_directory
from ._sides import packed
from ._solvers import Switching, prepare
from ._steps import Sample, join
from ._trajectory import Trajectory
from ._until import SaveAt, Until
from .clocks import AbstractClock


def solve(
    flow: AbstractFlow,
    network: PyTree,
    *,
    until: Until,
    rtol: float = 1e-6,
    atol: float = 0.0,
    clock: AbstractClock | None = None,
    solver: dfx.AbstractAdaptiveSolver | None = None,
    max_steps: int = 10_000,
    save: SaveAt | None = None,
    memory: float = 2e9,
    progress: bool | AbstractMeter = True,
    throw: bool = True,
    checkpoint: str | Path | None = None,
) -> Trajectory:
    r"""Follow the gradient flow of a network.

    A homogeneous network moves in polar coordinates, so that weights of norm 1e-100 and
    log-times of 1e300 are as good as any; others, and all under the square loss, in
    weight space. The last sample lies exactly on the level of `until` that was met
    (`converged` apart). Ctrl-C returns what was computed.

    Args:
        flow: Data and loss.
        network: The weights at $t = 0$.
        until: When to stop.
        rtol: Relative tolerance of a step, 1e-13 to 1e-1: of each unit (a row of an
            array of weights, a neuron; see `gflow.nn.AbstractHomogeneous.units`)
            against its own size, root mean square over units, and of all weights
            together.
        atol: Absolute tolerance of a unit, against all weights: units smaller than
            `atol / rtol` of the network are not resolved. By default all are.
        clock: What `tau` counts, one of `gflow.clocks`; the steps have a clock of their
            own, in which the fastest growth is exponential. By default `Polar()` for
            homogeneous networks, else `Loss()`; for the square loss `LogTime()`.
        solver: `Switching()` by default, or any adaptive Diffrax solver.
        max_steps: The most steps to try, rejected ones counted.
        save: What to keep, in place of every accepted step.
        memory: The most bytes that the trajectory may take, also while it is put
            together. Where all steps would take more it keeps the points at their ends
            alone, without dense output; if these do too, every second, every fourth of
            them, and so on: `stats["kept"]` says which. Points that `save` asks for
            must fit; what its observables return is not counted.
        progress: Show a line on standard error if it is a terminal; or a meter.
        throw: Raise `SolveError` when the solve ends before `until`; else return.
        checkpoint: A new file to write every so often, and at the end; see `resume`.

    Returns:
        The trajectory. Its `result` is `RESULTS.successful` when `until` was met.

    Raises:
        ValueError: If an argument cannot be used; the message names it.
        SolveError: If it ends early and `throw` is true. It holds the trajectory.
        TypeError: Inside of `jit`, `vmap` or `grad`.

    Example:
        `gflow.solve(flow, network, until=gflow.Until(log_t=1e9))`
    """
    began, shown = time.perf_counter(), meter(progress)
    require_concrete((flow, network), "gflow.solve")
    path = None if checkpoint is None else _new_file(Path(checkpoint))
    run = _new_run(
        flow, network, until, rtol, atol, clock, solver, max_steps, save, memory
    )
    if path is not None:
        _try_to_write(path, run)
    run.compile_seconds = time.perf_counter() - began
    return drive(run, path, shown, throw)


def resume(
    path: str | Path,
    flow: AbstractFlow,
    network: PyTree,
    *,
    clock: AbstractClock | None = None,
    solver: dfx.AbstractAdaptiveSolver | None = None,
    until: Until | None = None,
    save: SaveAt | None = None,
    max_steps: int | None = None,
    memory: float | None = None,
    progress: bool | AbstractMeter = True,
    throw: bool = True,
) -> Trajectory:
    """Go on with a solve from its checkpoint, bit for bit as if it had never stopped.

    A checkpoint holds arrays and settings, and no Python objects: reading it is safe.
    What they mean is told by the flow and the network.

    Args:
        path: The file that `solve(..., checkpoint=path)` wrote; it is kept up to date.
        flow: The flow that was solved: the same loss and data.
        network: The network that the solve started from.
        clock: That of the solve, if it was none of those in `gflow.clocks`.
        solver: That of the solve, if it was given one.
        until: A later end than the first; by default the same. If it had an event, it
            must be given again.
        save: That of the solve, if it had observables.
        max_steps: As in `solve`, counted from the very start; by default the same.
        memory: As in `solve`; by default the same. What was left out stays so.
        progress: As in `solve`.
        throw: As in `solve`.

    Returns:
        The whole trajectory, from the start of the first solve.

    Raises:
        ValueError: If the file is missing, damaged, or written by a version of gflow
            whose runs have other parts; if `flow`, `network`, `clock`, `solver` or
            `save` is another; or if `until` lies behind what is computed.
        SolveError: As in `solve`.

    Example:
        `gflow.resume("run.ckpt", flow, network)`
    """
    path = Path(path)
    shown = meter(progress)
    require_concrete((flow, network), "gflow.resume")
    run = _checkpoint.read(path, flow, network, clock, solver, until, save)
    run.max_steps = run.max_steps if max_steps is None else max_steps
    run.memory = run.memory if memory is None else memory
    _check(
        run.field.flow, run.until if until is None else until, run.save,
        max_steps=run.max_steps, memory=run.memory,
    )  # fmt: skip
    sizes = run.start.point.size - 1, run.start.weights.size
    check_memory(run.memory, run.save, *sizes)
    if until is not None and until != run.until:
        _prolong(run, until)
    return drive(run, path, shown, throw)


def _new_run(
    flow, network, until, rtol, atol, clock, solver, max_steps, save, memory
) -> Run:
    """A solve before its first step, its arguments checked."""
    _check(flow, until, save, rtol=rtol, max_steps=max_steps, memory=memory)
    _check_atol(atol)
    solver = prepare(Switching() if solver is None else solver, rtol)
    field, degree = choose_field(flow, network, clock)
    carry, start = compiled(_loop.begin)(
        field, solver, controller(rtol), tolerance(rtol, atol),
        *field.coordinates.start(_tree.vector(network)),
    )  # fmt: skip
    start = jax.tree.map(np.asarray, start)
    check_memory(memory, save, start.point.size - 1, start.weights.size)
    _ahead(until, degree, start)
    if not np.all(np.isfinite(carry.length)):
        raise ValueError(
            "`network` must have finite outputs and derivatives on all of `x`, but has "
            "not. Check it for divisions, roots and logarithms."
        )
    run = Run(
        field=field, degree=degree, until=until, rtol=rtol, atol=atol, solver=solver,
        max_steps=max_steps, memory=memory, save=save, weights=_tree.vector(network),
        start=start, carry=carry,
    )  # fmt: skip
    if field.kinks.count > 0:
        run.note_gates([(0.0, np.asarray(packed(carry.gates)))])
    return run


def _prolong(run: Run, until: Until) -> None:
    """Set another end, which must lie ahead."""
    now = run.start
    if run.steps:
        now = jax.tree.map(lambda a: a[-1], join(run.start, run.steps[-1]))
    _ahead(until, run.degree, now)
    run.until = until
    run.go_on()


def _new_file(path: Path) -> Path:
    if path.exists():
        raise ValueError(
            f"`checkpoint` must be a new file, but {path} exists. Go on with it by "
            "`gflow.resume(path, flow, network)`, or delete it."
        )
    require_directory(path, "checkpoint")
    return path


def _try_to_write(path: Path, run: Run) -> None:
    """Write a run before it begins, lest a disk that refuses be found after hours."""
    try:
        _checkpoint.write(path, run)
    except OSError as error:
        raise ValueError(
            f"`checkpoint` must be a file that can be written, but {path}: {error}"
        ) from error


def _check(flow, until, save, **numbers) -> None:
    if not isinstance(flow, AbstractFlow):
        raise ValueError(
            "`flow` must be a `gflow.GradientFlow` or `gflow.SteepestFlow`, but is "
            f"{flow!r}."
        )
    if not isinstance(until, Until):
        raise ValueError(
            f"`until` must be a `gflow.Until`, such as `Until(log_t=1e9)`, but is "
            f"{until!r}."
        )
    if save is not None and not isinstance(save, SaveAt):
        raise ValueError(f"`save` must be a `gflow.SaveAt`, but is {save!r}.")
    last = None if save is None or save.log_t is None else save.times[-1]
    if last is not None and until.log_t is not None and last > until.log_t:
        raise ValueError(
            f"`save.log_t` must not lie beyond `until.log_t` = {until.log_t:g}, but "
            f"ends at {last:g}. Ask for a later end, or for fewer times."
        )
    for name, value in numbers.items():
        if not (isinstance(value, int | float) and 0 < value < math.inf):
            raise ValueError(f"`{name}` must be a positive number, but is {value!r}.")
        if name == "max_steps" and value != int(value):
            raise ValueError(f"`{name}` must be a whole number, but is {value}.")
        if name.endswith("tol") and not 1e-13 <= value <= 0.1:
            raise ValueError(
                f"`{name}` must lie between 1e-13 and 0.1, but is {value}. Below, "
                "float64 has no digits; above, the flow is not followed."
            )


def _check_atol(atol) -> None:
    if not (isinstance(atol, int | float) and 0 <= atol <= 0.1):
        raise ValueError(
            f"`atol` must be a number from 0 to 0.1, but is {atol!r}. To resolve units "
            "of every size, leave it at 0."
        )


def _ahead(until: Until, degree: float, now: Sample) -> None:
    """Refuse an end that lies behind."""
    log_radius = float(now.point[-1])
    values = {
        "log_t": (float(now.log_t), 1),
        "log_radius": (log_radius, 1),
        "log_margin_scale": (degree * log_radius, 1),
        "log_loss": (float(now.log_loss), -1),
    }
    for name, (value, sign) in values.items():
        level = getattr(until, name)
        if level is not None and math.isnan(value):
            raise ValueError(
                f"`until.{name}` must not be given for a network without a degree. Use "
                "`log_radius`, `log_t` or `log_loss`."
            )
        if level is not None and sign * (level - value) <= 0:
            raise ValueError(
                f"`until.{name}` must lie ahead of the start, where it is {value:.6g}, "
                f"but is {level:.6g}."
            )
