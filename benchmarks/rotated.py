r"""Modes that share units: right, or said to be unknown.

Linear networks in a rotated basis, from small weights: their modes are learned one
after the other, and all are in the same units, so that those still to come fall behind
as the first ones grow. What falls below the tolerance cannot be timed, and a solve must
say so; it may be off by the tolerance over the share that a mode falls to. A row for
each case with the largest error of its half-learning times (closed form, Saxe,
McClelland and Ganguli, 2013, arXiv 1312.6120) of modes that it has learned, in units of
`rtol`, and one for all.

    python -m benchmarks.rotated
"""

import argparse
import itertools

import jax

from benchmarks import _bench, any_start


WIDTHS = (2, 4, 7)
GOALS = ((3.0, 1.2), (4.0, 3.5), (2.0, 0.3), (6.0, 1.0))
GOALS += ((4.0, 2.0, 1.0), (5.0, 4.0, 3.0, 2.0))
SCALES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-12, 1e-30)
DEEP = 1e-8
"""Three layers from less take thousands of steps before anything grows."""

RIGHT = 50.0
"""Errors of so many tolerances are usual where no mode falls behind."""


def cases(widths=WIDTHS, goals=GOALS, scales=SCALES):
    """Depth, width, singular values and scale of each case."""
    for width, sizes, scale in itertools.product(widths, goals, scales):
        for depth in (2, 3):
            if len(sizes) <= width and (depth == 2 or scale >= DEEP):
                yield depth, width, sizes, scale


def main(**options):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [
        any_start.modes(depth, scale, sizes, rotated=True, width=width)
        for depth, width, sizes, scale in cases(**options)
    ]
    ended = [row["result"] for row in rows]
    off = [row["error"] for row in rows if row["error"] > RIGHT]
    total = {
        "case": "all",
        "runs": len(rows),
        "ends": {result: ended.count(result) for result in sorted(set(ended))},
        "off_by_more_than_50_rtol": len(off),
        "worst_in_rtol": max(row["error"] for row in rows),
    }
    return [*rows, _bench.emit(total)]


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
