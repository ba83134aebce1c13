"""The memory that a curve may take, and what it keeps where that is not enough."""

import jax
import numpy as np

from .._steps import Sample, Steps, join
from .._until import SaveAt
from ._run import Run


COPIES = 2
"""At the end chunks are put together, which takes as much again."""


def size_of_sample(weights: int, margins: int) -> int:
    """The bytes of one point, as it is kept."""
    return COPIES * 8 * (weights + margins + 4)


def check_memory(
    memory: float, save: SaveAt | None, weights: int, margins: int
) -> None:
    """Refuse a budget that what is asked for will not fit.

    Raises:
        ValueError: If it is too small.
    """
    asked = 2  # the ends
    if save is not None and not save.at_steps and save.observables is None:
        asked = max(asked, save.times.size)
    least = asked * size_of_sample(weights, margins)
    if memory < least:
        raise ValueError(
            f"`memory` must be at least {least:.3g} bytes for {asked} points of "
            f"{weights} weights, but is {memory:.3g}. Ask for fewer times, or for what "
            "a function of the points returns: `SaveAt(observables=...)`."
        )


def file(run: Run, steps: Steps) -> None:
    """Keep a chunk of steps, as far as there is memory.

    First all steps, then their ends alone, then every second of these, every fourth.
    """
    if run.stride == 0:
        run.steps.append(steps)
        if COPIES * _bytes(run.steps) > run.memory:
            _without_dense_output(run)
        return
    before = jax.tree.map(lambda a: a[-1], join(run.start, run.steps[-1]))
    run.steps = [jax.tree.map(lambda a: a[-1:], run.steps[-1]), steps]
    ends = jax.tree.map(lambda a: a[1:], join(before, steps))
    first = -run.filed % run.stride
    run.filed += len(ends.tau)
    run.saved.append(jax.tree.map(lambda a: np.array(a[first :: run.stride]), ends))
    _thin_out(run)


def points_of(run: Run, ends: Sample) -> Sample:
    """What is kept of the ends of steps: all, or some, with the last of `ends`."""
    if run.stride == 0:
        return ends
    saved = jax.tree.map(lambda *a: np.concatenate(a), *run.saved)
    run.saved = []
    # The last step may have been cut short since, and its end kept before that. (Clocks
    # may stand still: they do not tell.)
    before = len(saved.tau) - ((run.filed - 1) % run.stride == 0)
    if before > 0 and np.array_equal(saved.point[before - 1], ends.point[-1]):
        before -= 1  # or been taken back as a whole
    return jax.tree.map(
        lambda some, last: np.concatenate([some[:before], last[-1:]]), saved, ends
    )


def in_words(run: Run) -> str:
    """What a curve has of its steps."""
    if run.save is not None:
        return "what `save` asks for"
    if run.stride == 0:
        return "all steps"
    which = {1: "all points at steps", 2: "every second point"}
    some = which.get(run.stride, f"every {run.stride}th point")
    return f"{some}, no dense output: `memory` is {run.memory:.3g} bytes"


def _without_dense_output(run: Run) -> None:
    before, run.stride = run.start, 1
    run.saved = [jax.tree.map(lambda a: np.asarray(a)[None], run.start)]
    for steps in run.steps:
        ends = jax.tree.map(lambda a: a[1:], join(before, steps))
        before = jax.tree.map(lambda a: a[-1], ends)
        run.saved.append(ends)
    run.filed = sum(len(some.tau) for some in run.saved)
    # The last steps stay, for landing on the level that ends the solve.
    *before_last, last = run.steps
    run.steps = [*(jax.tree.map(lambda a: a[-1:], s) for s in before_last[-1:]), last]
    _thin_out(run)


def _thin_out(run: Run) -> None:
    """Every second point, until they fit, or until only the ends are left."""
    while COPIES * _bytes(run.saved) > run.memory and _count(run) > 1:
        first, run.stride = 0, 2 * run.stride
        for k, some in enumerate(run.saved):
            count = len(some.tau)
            run.saved[k] = jax.tree.map(lambda a, f=first: np.array(a[f::2]), some)
            first = (first + count) % 2


def _count(run: Run) -> int:
    return sum(len(some.tau) for some in run.saved)


def _bytes(chunks: list) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(chunks))
