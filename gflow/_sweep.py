"""Many flows: over seeds, scales, networks, data, losses."""

import concurrent.futures as cf
import inspect
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import _extras
from ._checks import require_concrete
from ._member import FAILED, Outcome, ends, follow
from ._solve import solve
from ._trajectory import Trajectory
from ._until import Until


RESERVED = ("result", "message", "seconds")
"""Variables of all results, which no axis may be named after."""

WRITE_SECONDS = 5.0
"""The results are on disk this long after they are known, or as soon as they can be."""


def sweep(
    make: Callable[..., Any],
    over: Mapping[str, Sequence[Any]],
    *,
    until: Until,
    record: Callable[[Trajectory], Mapping[str, Any]] = ends,
    executor: cf.Executor | None = None,
    path: str | Path | None = None,
    retry: bool = False,
    progress: bool = True,
    **options: Any,
) -> Any:
    """Solve the flows of all combinations of some values, and gather what they give.

    A member that fails is recorded, and the others go on. Members whose arrays have the
    same shapes are compiled once in each process. Ctrl-C returns what is known.

    Args:
        make: Returns a flow and a network, given one value of each axis by name.
        over: The axes: names, and the values along each.
        until: As in `solve`.
        record: What to keep of each trajectory: numbers or arrays by name, of the same
            shapes for all members. By default where it ends: `log_t`, `log_radius`,
            `log_loss`, and the normalized `margin`.
        executor: Where members run: any `concurrent.futures.Executor`, such as a
            process pool or `dask.distributed.Client(...).get_executor()`; it is not
            shut down. Functions must be such as it can send. By default threads of this
            process, one a core.
        path: A netCDF file to keep the results in. If it exists, what it holds is not
            computed anew; it must be of the same axes, options and functions, as far as
            their code tells.
        retry: Whether members that failed before are tried again.
        progress: Show a line on standard error if it is a terminal.
        options: More arguments of `solve`, such as `rtol` and `max_steps`.

    Returns:
        An `xarray.Dataset` whose dimensions are the axes, with the variables that
        `record` returns (NaN where there is none), and `result` (the name of one of
        `gflow.RESULTS`, `"failed"`, or empty if it was not run), `message` and
        `seconds`.

    Raises:
        ValueError: If an argument cannot be used, or `path` holds another sweep.
        ImportError: If xarray, h5netcdf or h5py is not installed:
            `pip install '.[netcdf]'`.
        BrokenExecutor: If the executor dies. What was known by then is in the file.

    Example:
        `gflow.sweep(make, {"seed": range(64), "scale": [1e-3, 1.0]}, until=until)`
    """
    _check(make, over, until, record, executor, options)
    require_concrete(list(over.values()), "gflow.sweep")
    functions = {"make": make, "record": record, "event": until.event}
    functions = {name: f for name, f in functions.items() if f is not None}
    store = _extras.netcdf().SweepStore(over, until, options, functions, path)
    members = list(itertools.product(*(range(len(axis)) for axis in over.values())))
    again = ("", FAILED) if retry else ("",)
    todo = [member for member in members if store.result(member) in again]
    line = _Line(len(members), len(members) - len(todo), progress)
    task = partial(_task, make, over, until, record, options)
    _fill(store, line, executor, todo, task)
    return store.dataset


def _task(make, over, until, record, options, member) -> tuple:
    """What `follow` asks for to solve one member."""
    values = {n: axis[k] for (n, axis), k in zip(over.items(), member, strict=True)}
    return make, values, until, record, options, jax.config.read("jax_enable_x64")


def _fill(store, line: "_Line", executor, members, task) -> None:
    """Keep what comes, on disk too every so often, until all is there, or Ctrl-C."""
    written = time.monotonic()
    try:
        for member, outcome in _run(executor, members, task):
            store.add(member, outcome)
            line.update(outcome)
            if time.monotonic() - written > WRITE_SECONDS:
                store.write()
                written = time.monotonic()
    except KeyboardInterrupt:
        line.message = "interrupted"
    finally:
        store.write()
        line.close()


def _run(executor, members, task) -> Iterator[tuple[tuple[int, ...], Outcome]]:
    """The members and their outcomes, as they come."""
    if executor is not None:
        yield from _gathered(executor, members, task)
        return
    if members:  # compiles for the others
        yield members[0], follow(*task(members[0]))
    own = cf.ThreadPoolExecutor(os.cpu_count())
    try:
        yield from _gathered(own, members[1:], task)
    finally:
        own.shutdown(wait=False, cancel_futures=True)


def _gathered(executor, members, task):
    futures = {executor.submit(follow, *task(member)): member for member in members}
    try:
        for future in cf.as_completed(futures):
            yield futures[future], _outcome(future)
    finally:
        for future in futures:
            future.cancel()


def _outcome(future: cf.Future) -> Outcome:
    """What a future has become; an error of its worker fails the member alone."""
    try:
        return future.result()
    except (cf.BrokenExecutor, KeyboardInterrupt):
        raise
    except Exception as error:  # such as a function that cannot be sent
        return Outcome(FAILED, f"{type(error).__name__}: {error}", np.nan, {})


class _Line:
    """How many members are done."""

    def __init__(self, total: int, done: int, shown: bool):
        self.total, self.done, self.failed, self.message = total, done, 0, ""
        self.shown = shown and sys.stderr.isatty()
        self.began = time.monotonic()
        self.before = done

    def update(self, outcome: Outcome) -> None:
        self.done += 1
        self.failed += outcome.result == FAILED
        self._write("")

    def close(self) -> None:
        self._write(f"  {self.message}\n")

    def _write(self, ending: str) -> None:
        if self.shown:
            spent = max(time.monotonic() - self.began, 1e-9)
            rate = (self.done - self.before) / spent
            sys.stderr.write(
                f"\r\x1b[2K{self.done} of {self.total} members, {self.failed} failed, "
                f"{rate:.2g}/s{ending}"
            )
            sys.stderr.flush()


def _check(make, over, until, record, executor, options) -> None:
    for name, function in (("make", make), ("record", record)):
        if not callable(function):
            raise ValueError(f"`{name}` must be a function, but is {function!r}.")
    if not isinstance(over, Mapping) or not over:
        raise ValueError(
            "`over` must be a dictionary of axes, such as `{'seed': range(8)}`, but is "
            f"{over!r}."
        )
    if not isinstance(until, Until):
        raise ValueError(f"`until` must be a `gflow.Until`, but is {until!r}.")
    for name, axis in over.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                "`over` must name its axes as `make` names its arguments, but has "
                f"{name!r}."
            )
        if name in RESERVED:
            raise ValueError(
                f"`over` must not name an axis {name!r}: the results have a variable "
                "of that name."
            )
        listed = isinstance(axis, Sequence) and not isinstance(axis, str)
        listed = listed or (isinstance(axis, np.ndarray) and axis.ndim == 1)
        if not listed or len(axis) == 0:
            raise ValueError(
                f"`over[{name!r}]` must be a list of values, at least one, but is "
                f"{axis!r}. Of an array, pass `list(axis)`."
            )
    if executor is not None and not isinstance(executor, cf.Executor):
        raise ValueError(
            "`executor` must be a `concurrent.futures.Executor`, but is "
            f"{type(executor).__name__}."
        )
    try:
        inspect.signature(make).bind(**{name: axis[0] for name, axis in over.items()})
    except TypeError as error:
        raise ValueError(
            f"`make` must take the axes {', '.join(over)} by name, but: {error}."
        ) from error
    known = set(inspect.signature(solve).parameters)
    for name in sorted(set(options) - known):
        raise ValueError(f"`{name}` must be an option of `gflow.solve`, but is none.")
    taken = {"progress", "throw", "checkpoint"} & set(options)
    if taken:
        raise ValueError(
            f"`{min(taken)}` cannot be an option of a sweep, which sets it itself."
        )
