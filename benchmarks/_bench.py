"""What benchmarks share: clocks, rows and a table."""

import json
import platform
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

import jax


LIBRARIES = ("gflow", "jax", "diffrax", "equinox", "numpy", "scipy")


def timed(fn, *args):
    """Wall and processor seconds of a call, and what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = jax.block_until_ready(fn(*args))
    return time.perf_counter() - wall, time.process_time() - cpu, out


def warm(fns, repeats):
    """Seconds of several calls, taken in turn so that a busy machine slows all alike.

    Args:
        fns: A dictionary of functions without arguments, called once before.
        repeats: How often.

    Returns:
        The seconds of each, and what its last call returned.
    """
    runs = {name: [] for name in fns}
    for _ in range(repeats):
        for name, fn in fns.items():
            runs[name].append(timed(fn))
    return {name: (seconds(runs[name]), runs[name][-1][2]) for name in fns}


def seconds(runs):
    """The least and the median of the wall times, and the least processor time."""
    walls, cpus = [run[0] for run in runs], [run[1] for run in runs]
    return {
        "seconds": min(walls),
        "median_seconds": statistics.median(walls),
        "cpu_seconds": min(cpus),
        "repeats": len(runs),
    }


def judged(row, **limits):
    """The row with its targets, and which of them it misses."""
    missed = [name for name, most in limits.items() if not row[name] <= most]
    return row | {"targets": limits, "missed": missed}


def versions():
    """Versions and device, the first line of every report."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "from source"
    device = jax.devices()[0]
    return found | {"device": device.device_kind, "machine": processor()}


def processor():
    """The model of the processor, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def emit(row):
    """Print a row as one JSON line, and return it."""
    print(json.dumps(row), flush=True)
    return row


def table(rows, columns):
    """Print some columns of the rows, aligned, on standard error."""
    cells = [
        list(columns),
        *([text(row.get(name)) for name in columns] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip(), file=sys.stderr)


def text(value):
    """A value as it stands in the table."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
