"""What becomes of a flow that seems to rest, or a unit of which does."""

import math
import time

import numpy as np

from .._results import RESULTS
from .._slides import with_gates
from . import _attempt, _rest, _watch
from ._carry import tolerance
from ._modes import LATEST, Modes
from ._run import Run
from ._way import log_t_in, way_to


def at_rest(run: Run) -> RESULTS | None:
    """What the modes of the motion say; if to go on, how."""
    began, length = time.perf_counter(), float(run.carry.length)
    field = with_gates(run.field, run.carry.gates)
    try:
        found = _rest.modes(field, run.carry, tolerance(run.rtol, run.atol))
    except np.linalg.LinAlgError:  # nothing is known
        found = None
    run.run_seconds += time.perf_counter() - began
    again, whole = _watch.AGAIN, int(run.carry.status) == _attempt.RESTING
    lengths = {"length": length, "looked": length, "longest": np.inf, "way": 0.0}
    if not whole:  # no more is asked where others move
        lengths = {name: float(getattr(run.carry, name)) for name in lengths}
    if found is None or not found.every:
        if found is None or math.isnan(found.astray):
            run.unwatched = run.unwatched or _unwatched(run, found)
        calm = found is None or found.calm
        if calm and length > 0.5 * _attempt.LONGEST:
            run.verdict = f"Measured: a step of {length:.0e} moves nothing."
            return RESULTS.critical_point
    if found is not None:
        again = np.clip(found.faints_at, _watch.SOON, _watch.AGAIN)
        run.verdict = found.in_words(run.lost, run.rtol)
        end = _unknown(run, found, whole)
        if end is not None:
            return end
        if found.critical(run.rtol):
            log_t = run.levels.log_t
            if log_t is None or log_t > LATEST:
                return RESULTS.critical_point
            lengths["looked"] = np.inf  # the time asked for comes, and nothing else
        elif whole:
            lengths |= _followed(run, found, length)
    lengths["searched"] = length * again
    run.go_on(**{name: np.float64(value) for name, value in lengths.items()})
    return None


def _unwatched(run: Run, found: Modes | None) -> str:
    """What nobody has looked for from here on."""
    modes = "modes grow from below the tolerance, or " if found is None else ""
    return (
        f"from log t = {float(run.carry.log_t):.6g}: whether {modes}samples are lost "
        f"in a balance was not looked for among {run.carry.point.size} weights"
    )


def _unknown(run: Run, found: Modes, whole: bool) -> RESULTS | None:
    """Why nobody knows how the flow goes on, if so; else until when it is known."""
    left = way_to(run.levels, run)
    if whole:
        soon = found.unknown_in(run.lost, run.rtol)
        early = found.early(float(run.carry.length))
        if soon < left and (found.shows(run.lost, run.rtol) or not early):
            run.known_until = min(run.known_until, log_t_in(soon, run))
            if run.known_until <= float(run.carry.log_t):
                return RESULTS.unresolved
        elif soon == math.inf:
            run.known_until = math.inf
        run.lost = run.lost.and_of(found, run.rtol)
    if not whole:  # where others move, this may not be the last of it
        left = min(left, float(run.carry.length) * _watch.AGAIN)
    run.balanced = bool(found.astray * left > run.rtol)
    return RESULTS.balanced if run.balanced else None


def _followed(run: Run, found: Modes, length: float) -> dict[str, float]:
    """The lengths of steps that follow what grows; where nothing is seen, a leap."""
    soon, longest = found.looks_again(run.lost, run.rtol)
    way = 1.05 * soon if np.isfinite(soon) else 0.0
    if found.hidden(run.rtol):
        known = found.early(length) or found.known(run.lost, run.rtol)[0]
        if known:
            longest, way = found.follow(run.rtol)
            return {"longest": longest, "way": min(way, 1.05 * soon)}
    length = max(length, found.leap)
    return {"length": length, "looked": length, "way": way, "longest": longest}
