"""What a run keeps of its steps, and what becomes of it at the end."""

import jax
import numpy as np

from .._observables import Observables, stacked
from .._observed import observed
from .._steps import Sample, Steps, join, sample
from .._turned import Turns, within_steps
from .._until import SaveAt
from ._budget import file, points_of
from ._run import Run


def last_sample(run: Run) -> Sample:
    """Where the run is."""
    if not run.steps:
        return run.start
    return jax.tree.map(lambda a: a[-1], join(run.start, run.steps[-1]))


def keep(run: Run, steps: Steps) -> None:
    """Keep a chunk of steps; with `save`, only what it asks for."""
    if steps.tau.size == 0:
        return
    if run.save is None:
        file(run, steps)
        return
    due, fn = _due(run, run.save, steps), run.save.observables
    if len(due.tau) and fn is None:
        run.saved.append(due)
    elif len(due.tau) and fn is not None:
        run.seen.append(observed(run.field, due, turns_of(run, due), fn))
    # The last steps stay, for landing on the level that ends the solve.
    run.steps = [*(jax.tree.map(lambda a: a[-1:], s) for s in run.steps[-1:]), steps]


def _due(run: Run, save: SaveAt, steps: Steps) -> Sample:
    """The samples of a chunk that `save` asks for."""
    before, first_chunk = last_sample(run), not run.steps
    if save.at_steps:
        ends = join(before, steps)
        return ends if first_chunk else jax.tree.map(lambda a: a[1:], ends)
    first = getattr(before, save.name)
    last = getattr(steps, save.name)[-1]
    new = save.times > first
    if first_chunk:
        new |= save.times == first  # the start
    times = save.times[new & (save.times <= last)]
    if times.size == 0:
        return jax.tree.map(lambda a: np.asarray(a)[None][:0], before)
    return sample(run.field, before, steps, save.name, times)


def turns_of(run: Run, samples: Sample) -> Turns:
    """The turns of the gates at some samples that a run keeps."""
    if run.save is None or run.save.at_steps:
        return run.gates
    return within_steps(run.field, samples, run.gates)


def samples_of(run: Run, steps: Steps | None) -> Sample:
    """The samples of the trajectory, once `steps` end where it does."""
    start = jax.tree.map(lambda a: a[None], run.start)
    if steps is None:
        return start
    ends = join(run.start, steps)
    if run.save is None:
        return points_of(run, ends)
    if run.save.observables is not None:
        return jax.tree.map(lambda a, b: np.concatenate([a, b[-1:]]), start, ends)
    if not run.saved:
        return jax.tree.map(lambda a: a[:0], ends)
    end = float(getattr(steps, run.save.name)[-1])
    chunks = [jax.tree.map(np.asarray, chunk) for chunk in run.saved]
    samples = jax.tree.map(lambda *a: np.concatenate(a), *chunks)
    kept = getattr(samples, run.save.name) <= end
    return jax.tree.map(lambda a: a[kept], samples)


def observables_of(run: Run, samples: Sample) -> Observables | None:
    """What was observed up to the last of the samples of the trajectory."""
    if run.save is None or run.save.observables is None:
        return None
    fn = run.save.observables
    if not run.seen:  # nothing moved, or no time was reached
        first = jax.tree.map(lambda a: a[:1], samples)
        start = observed(run.field, first, run.gates, fn)
        return start if run.save.at_steps else jax.tree.map(lambda a: a[:0], start)
    found = stacked(run.seen)
    end = float(getattr(samples, run.save.name)[-1])
    cut = getattr(found, run.save.name) > end
    found = jax.tree.map(lambda a: a[~cut], found)
    if run.save.at_steps and np.any(cut) and not np.any(found.tau == samples.tau[-1]):
        end = jax.tree.map(lambda a: a[-1:], samples)
        last = observed(run.field, end, run.gates, fn)
        found = stacked([found, last])
    return found
