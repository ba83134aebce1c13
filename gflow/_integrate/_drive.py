"""The host's side of a solve: chunk after chunk, until a reason to stop."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from .._compile import compiled
from .._devices import beside
from .._observed import first_crossing
from .._results import RESULTS
from .._slides import with_gates
from .._steps import Steps
from .._trajectory import Trajectory, trajectory
from .._turned import Turns
from .._until import Levels
from . import _attempt, _checkpoint, _events, _loop
from ._at_rest import at_rest
from ._budget import in_words
from ._carry import controller, tolerance
from ._ends import balance, fitted
from ._interruption import interruption
from ._landing import land, length_to_land
from ._passing import pass_zero
from ._progress import AbstractMeter, Report
from ._run import Run
from ._saving import keep, last_sample, observables_of, samples_of, turns_of


FIRST_CHECKPOINT_SECONDS, CHECKPOINT_SECONDS = 5.0, 20.0
"""How long a solve goes on without writing its checkpoint: at first, and then."""

CHUNK_STEPS = 64
CHUNK_BYTES = 64e6
"""The most steps in a chunk, and the most memory that its buffers take."""

CHUNK_SECONDS = 0.5
"""How long a chunk should run: so quick are Ctrl-C and the progress line."""


class SolveError(RuntimeError):
    """A solve that ended before `until`.

    Attributes:
        trajectory: What was computed, with a `result` that says why it ended.
    """

    def __init__(self, message: str, curve: Trajectory):
        super().__init__(message)
        self.trajectory = curve


def drive(run: Run, path: Path | None, shown: AbstractMeter, throw: bool) -> Trajectory:
    """Run chunks until the flow reaches its end, fails, or is interrupted."""
    advance, capacity = _chunks_of(run)
    _compile(run, advance)
    chunk = min(8, capacity)
    saved, wait = time.monotonic(), FIRST_CHECKPOINT_SECONDS
    early = None
    with interruption() as is_interrupted:
        while True:
            left = run.max_steps - run.attempts()
            if int(run.carry.status) == _attempt.WALLED:
                run.make_room()
                _compile(run, advance)
            early = _reason_to_stop(run, left, is_interrupted())
            if early is not None or int(run.carry.status) != _attempt.RUNNING:
                break
            began, before = time.perf_counter(), run.carry
            run.carry, rows, sides, count = advance(chunk, min(2 * chunk, left))
            # Copied: a view of a few rows would keep all of the buffer.
            steps = _loop.unpack(np.array(rows[: int(count)]), run.carry)
            turns = _loop.turns_of(run.field, steps, sides)
            if _is_passed(run, steps, turns):  # the same steps again, up to there
                run.carry = before
                continue
            run.note_gates(turns)
            if int(run.carry.status) in (_attempt.KINKED, _attempt.STUCK):
                _events.decide(run)
            seconds = time.perf_counter() - began
            run.run_seconds += seconds
            keep(run, steps)
            if int(run.carry.status) == _attempt.LANDING:  # tried, and not yet kept
                tried = _loop.unpack(np.array(rows[int(count)][None]), run.carry)
                whole = float(run.carry.landing)
                run.land(length_to_land(last_sample(run), tried, run.levels, whole))
            if int(run.carry.status) == _attempt.PASSING:
                pass_zero(run, steps)
            shown.update(_report(run))
            tries = run.attempts() - (run.max_steps - left)
            chunk = int(np.clip(CHUNK_SECONDS * tries / seconds, 1, capacity))
            if path is not None and time.monotonic() - saved > wait:
                _save(path, run)
                saved, wait = time.monotonic(), CHECKPOINT_SECONDS
        if path is not None:
            _save(path, run)
    curve, message = _finish(run, early)
    shown.close(message)
    if throw and curve.result not in (RESULTS.successful, RESULTS.interrupted):
        raise SolveError(message, curve)
    return curve


def _chunks_of(run: Run) -> tuple[Callable, int]:
    """The loop over steps of a run, and how many of them a chunk has at most."""
    control = controller(run.rtol)
    tolerances = tolerance(run.rtol, run.atol)
    size = 8 * (5 * (run.start.point.size) + run.start.weights.size)
    size += run.carry.gates.on.size // 4
    capacity = int(np.clip(CHUNK_BYTES / size, 1, CHUNK_STEPS))

    def advance(steps: int, attempts: int):
        return jax.block_until_ready(
            compiled(_loop.advance)(
                run.field, run.solver, control, tolerances, Levels(run.levels),
                beside(run.carry, run.field.flow.x), np.int64(steps),
                np.int64(attempts), capacity,
            )
        )  # fmt: skip

    return advance, capacity


def _compile(run: Run, advance: Callable) -> None:
    """Compile the loop, as its carry is now: of no steps, it does nothing."""
    began = time.perf_counter()
    advance(0, 0)
    run.compile_seconds += time.perf_counter() - began


def _is_passed(run: Run, steps: Steps, turns: Turns) -> bool:
    """Whether the event of `until` is passed on these steps, which is noted."""
    event = run.until.event
    if event is None or run.event_at is not None or steps.tau.size == 0:
        return False
    run.event_at, run.event_side = first_crossing(
        run.field, last_sample(run), steps, [*run.gates, *turns], event, run.event_side
    )
    return run.event_at is not None


def _save(path: Path, run: Run) -> None:
    """Write the checkpoint; where that fails, go on and say so."""
    try:
        _checkpoint.write(path, run)
    except OSError as error:
        warnings.warn(
            f"The checkpoint {path} could not be written ({error}): it is as it was. "
            "The solve goes on.",
            RuntimeWarning,
            stacklevel=4,
        )


def _reason_to_stop(run: Run, left: int, interrupted: bool) -> RESULTS | None:
    """Why not to go on, if there is a reason other than having met a level.

    Where the loop stopped because the flow seems to rest, its modes decide.
    """
    status = int(run.carry.status)
    if run.balanced:
        return RESULTS.balanced
    if status == _attempt.UNDERFLOW:
        return RESULTS.step_underflow
    if status == _attempt.VANISHING:
        return RESULTS.vanishing
    if status not in (_attempt.RUNNING, _attempt.RESTING, _attempt.HELD):
        return None
    if interrupted:
        return RESULTS.interrupted
    if left <= 0:
        return RESULTS.out_of_steps
    return None if status == _attempt.RUNNING else at_rest(run)


def _report(run: Run) -> Report:
    last = run.steps[-1] if run.steps else None
    return Report(
        log_t=float(run.carry.log_t),
        log_margin_scale=run.degree * float(run.carry.log_whole),
        log_loss=float(last.log_loss[-1] if last else run.start.log_loss),
        normalized_margin=_smallest(run),
        steps=int(run.carry.accepted),
        rejected=int(run.carry.rejected),
    )


def _smallest(run: Run) -> float:
    """The smallest margin at radius one; as it is without a degree."""
    least = float(np.min(np.asarray(run.carry.margins)))
    if np.isnan(run.degree):
        return least
    power = run.degree - run.field.coordinates.power
    return least * float(np.exp(-power * run.carry.log_whole))


def _finish(run: Run, early: RESULTS | None) -> tuple[Trajectory, str]:
    """The trajectory of a run, and how it ended in words."""
    last, met = run.steps.pop() if run.steps else None, None
    if early is RESULTS.balanced and last is not None:
        # Nobody knows where the flow is at its end.
        last = jax.tree.map(lambda a: a[:-1], last)
        last = last if len(last.tau) else run.steps.pop() if run.steps else None
    if early is not None:
        result, message = early, early.value
        if early is RESULTS.out_of_steps:
            message = f"{message}{balance(run)}"
    else:
        assert last is not None, "A level is met at the end of a step."
        last, met = land(run.field, last_sample(run), last, run.levels)
        met = met or "converged"
        result, message = RESULTS.successful, f"reached {met}"
        if met == "log_t" and run.levels.log_t == run.known_until:
            early, met = RESULTS.unresolved, None
            result, message = early, early.value
        elif met == "log_t" and run.event_at is not None:
            met, message = "event", "reached event"
    if early in (RESULTS.critical_point, RESULTS.balanced, RESULTS.unresolved):
        message = f"{message} {run.verdict}{fitted(run)}"
    run.ahead, steps = None, None
    if last is not None:
        steps = jax.tree.map(lambda *a: np.concatenate(a), *run.steps, last)
        run.steps = []  # it takes memory
    samples = samples_of(run, steps)
    seen = observables_of(run, samples)
    steps = steps if run.save is None and run.stride == 0 else None
    stats = {
        "steps": int(run.carry.accepted),
        "rejected": int(run.carry.rejected),
        "failed": int(run.carry.failed),
        "gradients": float(run.carry.gradients),
        "compile_seconds": run.compile_seconds,
        "run_seconds": run.run_seconds,
        "stopped_by": met,
        "kept": in_words(run),
        "verdict": run.verdict if early is not None else None,
        "unwatched": run.unwatched,
        "events": int(run.carry.passed),
        "slides": int(np.sum(np.asarray(run.carry.gates.slides) >= 0)),
        "walls": int(np.sum(np.asarray(run.carry.walls.some))),
    }
    field = with_gates(run.field, run.carry.gates)
    turns = turns_of(run, samples)
    curve = trajectory(field, samples, result, stats, steps, turns, seen)
    return curve, message
