"""A convolutional network with max-pooling on ten classes of images, to log t = 1e6.

Bias-free, two convolutions with ReLU and max-pooling and two dense layers, on 100
images of digits under the cross-entropy: the experiment of Ji and Telgarsky (2020,
arXiv:2006.06657), carried on from where gradient descent has to stop. The picture shows
the normalized margin and the alignment of the weights with the negative gradient
against log log t.

    python -m benchmarks.images                  # from the root of the repository
    python -m benchmarks.images --rtol 1e-4      # a half of the time
"""

import argparse
import os


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import gflow
import gflow.plot
import jax
import jax.random as jr
import numpy as np
from matplotlib.figure import Figure

from benchmarks import _bench


FIGURE = Path(__file__).parent / "figures" / "images.png"
SECONDS = 300.0
COLUMNS = ("case", "weights", "margins", "steps", "rejected", "failed", "gradients")
COLUMNS += ("log_t", "normalized_margin", "alignment", "seconds", "ok", "missed")
MOMENTS = 120


def problem(samples, channels, width, classes=10):
    """The flow on so many digits, and the network it starts from."""
    x, y = gflow.data.digits(tuple(range(classes)), samples=samples)
    network = gflow.nn.ConvNet((8, 8), channels, (width,), classes, key=jr.key(0))
    return gflow.GradientFlow(gflow.CrossEntropy(), x, y), network


def measure(samples, channels, width, rtol, log_t, classes):
    """The row of a run, and the run at moments even in log log t."""
    flow, network = problem(samples, channels, width, classes)
    until = gflow.Until(log_t=log_t)
    # The first call compiles, so that what it says of seconds is without that.
    curve = gflow.solve(flow, network, until=until, rtol=rtol, progress=False)
    log_times = np.append(np.linspace(-1, 1, 20), np.geomspace(1, log_t, MOMENTS)[1:])
    moments = curve.at(log_t=log_times)
    margins = smoothed(flow, curve)
    last = np.asarray(flow.margins(curve[-1].direction))
    row = {
        "case": f"ConvNet {channels}, {width} on {samples} digits",
        "rtol": rtol,
        "weights": curve.steps.rates.shape[1],
        "margins": (classes - 1) * samples,
        "steps": curve.stats["steps"],
        "rejected": curve.stats["rejected"],
        "failed": curve.stats["failed"],
        "gradients": curve.stats["gradients"],
        "log_t": float(curve.log_t[-1]),
        "normalized_margin": float(gflow.margins.normalized(curve[-1])),
        "alignment": float(aligned(flow, curve)[-1]),
        "smallest_increase": float(np.min(np.diff(margins))),
        "spread": float(np.max(np.abs(last)) / np.min(last)),
        "compile_seconds": curve.stats["compile_seconds"],
        "seconds": curve.stats["run_seconds"],
        "ok": bool(curve.result == gflow.RESULTS.successful),
    }
    return row, moments


def aligned(flow, curve):
    """The alignment at every sample."""
    return curve.map(gflow.kkt.alignment)


def smoothed(flow, curve):
    """The logarithm of the smoothed margin, where it is positive."""
    margins = curve.map(gflow.margins.smoothed)
    margins = np.asarray(margins)
    return np.log(margins[margins > 0])


def draw(moments):
    """Normalized margin and alignment against log log t."""
    flow = moments.field.flow
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    margins = moments.map(gflow.margins.normalized)
    gflow.plot.over_time(moments, 1e4 * np.asarray(margins), ax=left)
    left.axhline(0, color="0.7", lw=0.8, zorder=0)
    left.set_title(r"Normalized margin, in units of $10^{-4}$", loc="left")
    gflow.plot.over_time(moments, aligned(flow, moments), ax=right)
    right.axhline(1, color="0.7", lw=0.8, zorder=0)
    right.set_title("Alignment of weights and negative gradient", loc="left")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    samples=100, channels=(8, 16), width=32, rtol=1e-5, log_t=1e6, figure=None,
    classes=10,
):  # fmt: skip
    """Measure one run, print its row, draw it, and return the rows."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    row, moments = measure(samples, tuple(channels), width, rtol, log_t, classes)
    limits = {"seconds": SECONDS} if log_t >= 1e6 else {}
    rows = [_bench.emit(_bench.judged(row, **limits))]
    if figure is not None:
        draw(moments).savefig(figure, dpi=160)
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100, help="images, at most 1797")
    parser.add_argument("--rtol", type=float, default=1e-5, help="relative tolerance")
    parser.add_argument("--figure", default=FIGURE, help="where the picture goes")
    main(**vars(parser.parse_args()))
