"""How far do the flow and gradient descent come for the same number of gradients?

The digits 3 and 8, a two-layer network of squared ReLUs, one start for all. gflow goes
to log t = 1e9, and then on to where its direction stays; gradient descent gets as many
gradients, and then 30 times as many, which takes it about as long as the flow took.
Prints a table and saves a figure. This is one start, where all seem to head for one
limit; from others the long steps of descent lead elsewhere, with `width=16` to a larger
margin than that of the flow.

    python -m benchmarks.flow_vs_descent           # from the root of the repository
    python -m benchmarks.flow_vs_descent --json    # rows on standard output too
"""

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gflow
import jax
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from benchmarks import _bench


FIGURE = Path(__file__).parent / "figures" / "flow_vs_descent.png"
FLOW, WHOLE = FLOWS = ("gflow", "gflow, on to its limit")
Curve = gflow.Trajectory | gflow.descent.Descent
FIXED = "gradient descent, fixed step"
SCALED = "loss-scaled, as Lyu and Li"
SHRINKING = "loss-scaled, never raised"
STEPS = [2.0**k for k in range(12)]  # of gradient descent, tried in this order

FIRST, NEAR = 2.0, 0.2  # the first log t and the last angle that the figure shows
GRAY = "#707070"
COLORS = {FLOW: "#0b5394", WHOLE: "#0b5394"}
COLORS |= {FIXED: "#c1440e", SCALED: "#6f8f00", SHRINKING: "#a03a78"}
LABELS = {  # of each curve, and where it stands from an open square, in font sizes
    FIXED: ("gradient descent, fixed step", (1.5, -3.4)),
    SCALED: ("step ∝ 1 / loss, raised and lowered as by Lyu and Li", (1.0, -1.9)),
    SHRINKING: ("step ∝ 1 / loss, lowered only", (6.0, -1.0)),
}


def main(
    samples=None,
    width=32,
    log_t=1e9,
    log10_end=250.0,
    rtol=1e-5,
    more=30,
    figure=FIGURE,
    json=False,
):
    """Run all cases, print them, and save the figure.

    Args:
        samples: How many images, the first of 357; all by default.
        width: How many hidden units.
        log_t: Up to where the flow's gradients are counted; descent gets as many.
        log10_end: The flow goes on until its margins are so many powers of ten above
            those of its direction, which is then taken for the limit.
        rtol: The tolerance of the flow.
        more: How many times as many gradients the descents get at last.
        figure: The file to write.
        json: Print the rows as JSON lines on standard output too.
    """
    jax.config.update("jax_enable_x64", True)
    x, y = gflow.data.digits((3, 8), samples=samples)
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    network = gflow.nn.MLP(x.shape[1], (width,), power=2, key=jax.random.key(0))

    part, whole = follow(flow, network, log_t, log10_end, rtol)
    curves: dict[str, Curve] = {FLOW: part, WHOLE: whole}
    limit = whole[-1].direction
    rows = [
        row(name, curve, limit, curve.result == gflow.RESULTS.successful)
        for name, curve in ((FLOW, part), (WHOLE, whole))
    ]
    budget = round(part.stats["gradients"])
    step, seconds = largest_stable_step(flow, network, budget)
    methods = {
        FIXED: gflow.descent.GradientDescent(step),
        SCALED: gflow.descent.LossScaledDescent(),
        SHRINKING: gflow.descent.LossScaledDescent(growth=1.0),
    }
    for name, method in methods.items():
        compiling = seconds if name == FIXED else 0.0
        for gradients in (budget, more * budget):
            curve = curves[name] = gflow.descent.descend(
                flow, network, method=method, gradients=gradients
            )
            found = row(name, curve, limit, np.isfinite(curve.log_loss[-1]))
            compiling = max(compiling, found["compile_seconds"])
            rows.append(found | {"compile_seconds": compiling})

    data = f"{len(y)} images of 3 and 8, {width} squared ReLUs"
    show(
        rows,
        f"{data}: the flow to log t = {log_t:.0e}, descent with as many gradients\n"
        f"and {more} times as many. The fixed step {step:g} is the largest stable one.",
    )
    drawn = draw(flow, curves, budget, limit, data)
    figure.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(figure, dpi=200)
    if json:
        _bench.emit(_bench.versions() | {"step": step})
        for one in rows:
            _bench.emit(one)
    return rows


def follow(flow, network, log_t, log10_end, rtol):
    """The flow up to a time, and the whole of it on to its limit."""
    end = gflow.Until(log_margin_scale=log10_end * math.log(10))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.ckpt"
        part = gflow.solve(
            flow, network, until=gflow.Until(log_t=log_t), rtol=rtol,
            progress=False, checkpoint=path,
        )  # fmt: skip
        return part, gflow.resume(path, flow, network, until=end, progress=False)


def largest_stable_step(flow, network, gradients):
    """The largest power of two for which the loss falls all the way.

    With it, the seconds that were spent on compiling.
    """
    stable, seconds = math.nan, 0.0
    for step in STEPS:
        method = gflow.descent.GradientDescent(step)
        curve = gflow.descent.descend(flow, network, method=method, gradients=gradients)
        seconds = max(seconds, curve.stats["compile_seconds"])
        if not np.all(np.diff(curve.log_loss) < 0):
            break
        stable = step
    return stable, seconds


def measures(curve, limit):
    """The normalized margin, and the angle to the limit in degrees, all along."""
    margin = curve.map(gflow.margins.normalized)
    angle = curve.map(lambda point: gflow.paths.rotation(point, limit))
    return np.asarray(margin), np.degrees(np.asarray(angle))


def row(name, curve, limit, ok):
    """The row of one case: error, work and success."""
    end = curve[-1]
    return {
        "method": name,
        "gradients": round(curve.stats["gradients"]),
        "run_seconds": curve.stats["run_seconds"],
        "compile_seconds": curve.stats["compile_seconds"],
        "log_t": float(curve.log_t[-1]),
        "log10_loss": float(curve.log_loss[-1]) / math.log(10),
        "normalized_margin": float(gflow.margins.normalized(end)),
        "angle_degrees": math.degrees(gflow.paths.rotation(end, limit)),
        "ok": bool(ok),
    }


def show(rows, title):
    """Print a title and the rows as a table, on standard error."""
    columns = {
        "method": lambda r: r["method"],
        "gradients": lambda r: f"{r['gradients']:>9,}",
        "run s": lambda r: f"{r['run_seconds']:>5.2f}",
        "compile s": lambda r: f"{r['compile_seconds']:>9.1f}",
        "log t": lambda r: f"{r['log_t']:.3g}",
        "log10 loss": lambda r: f"{r['log10_loss']:.3g}",
        "margin": lambda r: f"{r['normalized_margin']:.6f}",
        "angle to limit": lambda r: f"{r['angle_degrees']:.2f}°",
        "ok": lambda r: "yes" if r["ok"] else "NO",
    }
    lines = [{name: text(r) for name, text in columns.items()} for r in rows]
    print(title, file=sys.stderr)
    _bench.table(lines, tuple(columns))


def draw(flow, curves, budget, limit, data):
    """Margin and angle against log t: the flow, and where each descent stops."""
    figure = Figure(figsize=(10, 7.6), layout="constrained")
    axes = top, bottom = figure.subplots(2, sharex=True)
    for name, curve in curves.items():
        log_t, color = np.asarray(curve.log_t), COLORS[name]
        same, end = len(log_t) - 1, -1
        if name not in FLOWS:
            same = np.searchsorted(np.asarray(curve.gradients), budget, "right") - 1
        square = {"marker": "s", "ms": 9, "mew": 2, "mec": color, "zorder": 4}
        both = measures(curve, limit)
        if name == WHOLE:
            frame(axes, log_t, *both)
        for ax, values in zip(axes, both, strict=True):
            if name == WHOLE:
                ax.plot(log_t, values, "o-", color=color, ms=4.5, lw=2)
                continue
            if name != FLOW:
                ax.plot(log_t, values, color=color, lw=2.2, zorder=3)
                ax.plot(log_t[end], values[end], mfc=color, **square)
            ax.plot(log_t[same], values[same], mfc="white", **square)
            if ax is top and name != FLOW:
                text, offset = LABELS[name]
                ax.annotate(
                    text, (log_t[same], values[same]), offset, color=color,
                    textcoords="offset fontsize", fontsize=13, va="center",
                )  # fmt: skip
    spent = int(curves[SHRINKING].gradients[-1])
    for face, count in (("white", budget), (GRAY, spent)):
        square = {"mfc": face, "mec": GRAY, "ms": 9, "mew": 2}
        bottom.plot([], [], "s", label=f"after {count:,} gradients", **square)
    bottom.legend(loc="lower left", frameon=False, fontsize=13, labelcolor=GRAY)
    top.set_title(data, loc="right", fontsize=13, color=GRAY)
    return figure


def frame(axes, log_t, margin, angle):
    """Axes, titles and limits, given the flow."""
    top, bottom = axes
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=13, length=4)
    last = float(log_t[np.argmax(angle < NEAR)])
    top.set_xscale("log")
    top.set_xlim(FIRST, last)
    top.set_ylim(0, 1.12 * margin[-1])
    top.yaxis.set_major_locator(ticker.MaxNLocator(4))
    top.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    top.axhline(margin[-1], color=GRAY, lw=1, ls=(0, (5, 4)), zorder=0)
    limit = (last, 1.02 * margin[-1], "limit of the flow")
    top.text(*limit, color=GRAY, fontsize=13, ha="right")
    bottom.set_yscale("log")
    bottom.set_ylim(NEAR, 100)
    bottom.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}°"))
    for axis in (bottom.xaxis, bottom.yaxis):
        axis.set_minor_locator(ticker.NullLocator())
    middle = np.argmax(angle < 2)
    bottom.annotate(
        "gflow, one point a step", (log_t[middle], angle[middle]), (0.8, 0.5),
        color=COLORS[FLOW], textcoords="offset fontsize", fontsize=13,
    )  # fmt: skip
    top.set_title("Normalized margin", loc="left", fontsize=15)
    bottom.set_title("Angle to the limit of the flow", loc="left", fontsize=15)
    bottom.set_xlabel("log t", fontsize=15)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print rows as JSON lines")
    parser.add_argument("--more", type=int, default=30, help="the longer descents")
    main(**vars(parser.parse_args()))
