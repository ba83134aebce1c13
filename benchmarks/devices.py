"""The same flows on an accelerator and on the processor beside it.

Nothing but the device changes: float64, the same steps. Small problems wait for the
accelerator's launches; matrices of many samples by many weights are what it is for.
The directions of the two ends are compared.

    python -m benchmarks.devices                         # on a machine with a GPU
    python -m benchmarks.devices --cases toy wide        # some of them
"""

import argparse

import gflow
import jax
import numpy as np

from benchmarks import _bench, relus, shapes


COLUMNS = ("case", "weights", "attempts", "apart", "seconds", "cpu_seconds", "ratio")
COLUMNS += ("compile_seconds", "cpu_compile_seconds", "result")
QUICK = 10.0
"""A run that takes no longer is done twice, and the shorter time counts."""


def toy():
    """Seven points in ten dimensions, ten hidden units: 110 weights."""
    random = np.random.default_rng(0)
    x = random.normal(size=(7, 10))
    network = gflow.nn.MLP(10, (10,), power=2, leak=-1.0, key=jax.random.key(0))
    flow = gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0]))
    return flow, network, gflow.Until(log_radius=69.0), 1e-6


def wide(width, samples=100):
    """Images of the digits 3 and 8, and a wide layer of squares, to R = 1e30."""
    x, y = gflow.data.digits((3, 8), samples=samples)
    network = gflow.nn.MLP(64, (width,), power=2, leak=-1.0, key=jax.random.key(0))
    flow = gflow.GradientFlow(gflow.Logistic(), x, y)
    return flow, network, gflow.Until(log_radius=69.0), 1e-4


def tall(samples):
    """Noisy labels on many samples, 20 weights, to log t = 5."""
    return *shapes.problem(samples, "square"), gflow.Until(log_t=5.0), 1e-6


def kinks(widths):
    """Layers of ReLUs on the same images, to t = 1e4."""
    flow, network = relus.digits(widths)
    return flow, network, gflow.Until(log_t=9.2), 1e-4


CASES = {
    "toy": toy,
    "wide": lambda: wide(1_600),
    "tall": lambda: tall(100_000),
    "square": lambda: wide(160, samples=357),
    "kinks": lambda: kinks((64,)),
    "wider": lambda: wide(15_400),
}


def followed(case, device):
    """The curve of a case on a device, its seconds warm, and its compilation's."""
    with jax.default_device(device):
        flow, network, until, rtol = CASES[case]()

        def solve():
            return gflow.solve(
                flow, network, until=until, rtol=rtol, throw=False, progress=False
            )

        curve = solve()
        seconds, compiling = (
            curve.stats[f"{kind}_seconds"] for kind in ("run", "compile")
        )
        if seconds < QUICK:
            seconds = solve().stats["run_seconds"]
        direction = [np.ravel(leaf) for leaf in jax.tree.leaves(curve[-1].direction)]
    return curve, np.concatenate(direction), seconds, compiling


def measure(case, device):
    """The row of one case."""
    curve, end, seconds, compiling = followed(case, device)
    _, other, cpu_seconds, cpu_compiling = followed(case, jax.devices("cpu")[0])
    return _bench.emit(
        {
            "case": case,
            "samples": curve.flow.x.shape[0],
            "weights": end.size,
            "attempts": curve.stats["steps"] + curve.stats["rejected"],
            "apart": float(np.linalg.norm(end - other)),
            "device": device.device_kind,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "ratio": seconds / cpu_seconds,
            "compile_seconds": compiling,
            "cpu_compile_seconds": cpu_compiling,
            "result": curve.result.name,
        }
    )


def main(cases=tuple(CASES), device=None):
    """Measure all cases, print their rows, and return them."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [measure(case, device or jax.devices()[0]) for case in cases]
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=tuple(CASES), choices=CASES)
    main(parser.parse_args().cases)
