"""Does gflow follow the flow from any start, past every saddle, at every scale?

Linear networks whose modes are learned one by one, against their closed form; squared
ReLUs on XOR-like labels, whose neurons escape from four saddles, against LSODA;
diagonal networks, against their dual equation. Weights of scale 1e-2 to 1e-100. Errors
are of times (relative or in log t) or of the predictor, in units of `rtol` where it
says so.

    python -m benchmarks.any_start
"""

import argparse
import math

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate

from benchmarks import _bench


SCALES = (1e-2, 1e-8, 1e-30, 1e-100)
XOR_SCALES = (1e-8, 1e-20, 1e-50, 1e-100)
LSODA_SCALE = 1e-3
LSODA_AT_1E_8 = (20.4912161, 20.6708677, 21.2767139, 23.4916130)
"""log t of the escapes from weights x 1e-8, by LSODA at 1e-11, which takes minutes:
`lsoda_escapes(1e-8, LOSSES)` finds them again."""

LOSSES = (0.6, 0.43, 0.1, 0.01)
COLUMNS = ("case", "attempts", "error", "unit", "seconds", "result", "missed")


class Diagonal(eqx.Module):
    """A linear predictor u * v, weight by weight."""

    u: jax.Array
    v: jax.Array

    def __call__(self, x):
        return jnp.dot(x, self.u * self.v)

    def units(self):
        return (("features",), ("features",))


def solved(flow, network, until, rtol):
    """A trajectory, and the seconds of a second solve."""

    def run():
        return gflow.solve(
            flow, network, until=until, rtol=rtol, progress=False, throw=False
        )

    run()
    seconds, _, curve = _bench.timed(run)
    return curve, seconds


def row_of(case, curve, seconds, miss, unit, **limits):
    """The row of one case."""
    row = {
        "case": case,
        "attempts": curve.stats["steps"] + curve.stats["rejected"],
        "gradients": curve.stats["gradients"],
        "error": float(miss),
        "unit": unit,
        "seconds": seconds,
        "log_t": float(curve.log_t[-1]),
        "result": curve.result.name,
        "unwatched": curve.stats["unwatched"] is not None,
        "ok": curve.result == gflow.RESULTS.successful,
    }
    return _bench.emit(_bench.judged(row, **limits))


def crossing(function, curve):
    """log t at which a function of a curve's samples first rises past zero."""
    log_t = np.asarray(curve.log_t)
    k = int(np.argmax(np.asarray(function(curve)) > 0))
    if not function(curve)[k] > 0:
        return math.nan
    low, high = log_t[k - 1], log_t[k]
    low = high - 5 if not np.isfinite(low) else low
    for _ in range(12):
        times = np.linspace(low, high, 9)[1:-1]
        above = np.asarray(function(curve.at(log_t=times))) > 0
        first = int(np.argmax(above)) if above.any() else len(times)
        grid = np.concatenate([[low], times, [high]])
        low, high = grid[first], grid[first + 1]
    return high


def half_time(depth, scale, goal):
    """When a product of `depth` equal factors is half-learned, by quadrature."""
    if depth == 2:
        return (math.log(goal) - 2 * math.log(scale)) / (2 * goal) + math.log1p(
            -(scale**2) / goal
        ) / (2 * goal)
    first, last = scale, (goal / 2) ** (1 / 3)
    rest, _ = scipy.integrate.quad(lambda b: b / (goal * (goal - b**3)), first, last)
    return (1 / first - 1 / last) / goal + rest


def modes(
    depth, scale, goals=(4.0, 2.5, 1.5, 1.0), rotated=False, rtol=1e-6, width=None
):
    """The half-learning times of a deep linear network under the square loss."""
    n = width or len(goals)
    random = np.random.default_rng(1)
    left, right, hidden = (
        np.linalg.qr(random.normal(size=(n, n)))[0] if rotated else np.eye(n)
        for _ in range(3)
    )
    weights = [scale * np.eye(n) for _ in range(depth)]
    weights[0] = weights[0] @ hidden @ right.T
    weights[-1] = left @ hidden.T @ weights[-1]
    sizes = np.pad(goals, (0, n - len(goals)))
    target = left @ np.diag(sizes) @ right.T
    flow = gflow.GradientFlow(gflow.Square(), math.sqrt(n) * np.eye(n),
                              math.sqrt(n) * target.T)  # fmt: skip
    network = gflow.nn.DeepLinear.from_weights(weights)
    exact = np.array([half_time(depth, scale, goal) for goal in goals])
    until = gflow.Until(log_t=math.log(3 * exact.max()))
    curve, seconds = solved(flow, network, until, rtol)

    def learned(samples, k):
        product = np.eye(n)[None]
        for weight in samples.network.weights:
            product = np.asarray(weight) @ product
        return np.einsum("i,tij,j->t", left[:, k], product, right[:, k]) - goals[k] / 2

    times = [crossing(lambda c, k=k: learned(c, k), curve) for k in range(len(goals))]
    misses = np.abs(np.exp(np.array(times) - np.log(exact)) - 1)
    # What a run that stops early has not reached is no error; else it is.
    early = curve.result != gflow.RESULTS.successful
    error = np.max(np.where(np.isnan(misses), 0.0 if early else math.inf, misses))
    case = f"{depth} linear layers x {scale:g}" + (", rotated" if rotated else "")
    if width:
        sizes = ", ".join(f"{goal:g}" for goal in goals)
        case += f", width {width}, modes of {sizes}"
    # Rotated, a mode may be lost: the run must say so, or be right.
    limits = (
        {"error": 50.0} if rotated else {"attempts": 60 * len(goals), "error": 50.0}
    )
    return row_of(case, curve, seconds, error / rtol, "rtol", **limits)


def xor(scale=1.0, width=12, samples=12, seed=0):
    """Two layers of squared ReLUs on points of the plane labeled by quadrant."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, 2))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    draw = np.asarray(jax.random.normal(jax.random.key(seed + 3), (3 * width,)))
    inner = scale * draw[: 2 * width].reshape(width, 2) / math.sqrt(2)
    network = gflow.nn.MLP.from_weights(
        [inner, scale * draw[2 * width :] / math.sqrt(width)], power=2
    )
    return gflow.GradientFlow(gflow.Logistic(), x, np.sign(x[:, 0] * x[:, 1])), network


def lsoda_escapes(scale, losses, **sizes):
    """log t plus that of the scale, at which the loss has fallen so far."""
    flow, network = xor(scale, **sizes)
    x, y = np.asarray(flow.x), np.asarray(flow.y)
    inner, outer = (np.asarray(w) for w in network.weights)
    width = len(outer)

    def velocity(s, w):
        first, last = w[: 2 * width].reshape(width, 2), w[2 * width :]
        u = np.maximum(x @ first.T, 0)
        g = y * np.exp(s - np.logaddexp(0, y * (u**2 @ last))) / len(y)
        return np.concatenate([(((g[:, None] * 2 * u) * last).T @ x).ravel(), g @ u**2])

    def loss(w):
        u = np.maximum(x @ w[: 2 * width].reshape(width, 2).T, 0)
        return np.mean(np.logaddexp(0, -y * (u**2 @ w[2 * width :])))

    events = [lambda s, w, at=at: loss(w) - at for at in losses]
    for event in events:
        event.terminal = False
    events[-1].terminal = True
    found = scipy.integrate.solve_ivp(
        velocity, (-5.0, 60.0), np.concatenate([inner.ravel(), outer]), "LSODA",
        events=events, rtol=1e-11, atol=1e-12 * scale,
    )  # fmt: skip
    return np.array([times[0] for times in found.t_events]) + math.log(scale)


def escapes(scale, exact, losses=LOSSES, rtol=1e-6, end=60.0, **sizes):
    """The escapes of squared ReLUs from saddle after saddle."""
    curve, seconds = solved(
        *xor(scale, **sizes), gflow.Until(log_margin_scale=end), rtol
    )
    times = np.array(
        [
            crossing(lambda c, at=at: math.log(at) - np.asarray(c.log_loss), curve)
            for at in losses
        ]
    )
    at_unit = times + math.log(scale)
    misses = np.abs(at_unit - exact)
    error = np.max(np.where(np.isnan(misses), math.inf, misses))
    most = 330 if scale >= 1e-8 else 600
    bound = 1e-5 if scale >= 1e-8 else 2e-5
    case = f"XOR, squared ReLU x {scale:g}, rtol {rtol:g}"
    limits = {"attempts": most, "error": bound}
    if rtol < 1e-6:
        limits = {"error": 5e-7 if scale <= 1e-8 else bound}
    return at_unit, row_of(case, curve, seconds, error, "log t", **limits)


def diagonal(scale, loss="square", rtol=1e-8, samples=5, features=8, log_t=None):
    """A diagonal network against its dual equation, beta = alpha^2 sinh 2z."""
    random = np.random.default_rng(3)
    x = random.normal(size=(samples, features))
    truth = np.where(np.arange(features) < 2, [3.0, -1.5] * (features // 2), 0.0)
    y = x @ truth if loss == "square" else np.sign(x @ truth)
    tail = gflow.Square() if loss == "square" else gflow.Exponential()
    flow = gflow.GradientFlow(tail, x, y)
    one = jnp.ones(features)
    network = Diagonal(math.sqrt(2) * scale * one, 0 * one)
    span = 2 * math.log(1 / scale) + 20
    log_t = math.log(span) if log_t is None else log_t
    curve, seconds = solved(flow, network, gflow.Until(log_t=log_t), rtol)

    def velocity(t, z):
        del t
        beta = scale**2 * np.sinh(np.clip(2 * z, -600.0, 600.0))  # trial steps
        pull = (
            y - x @ beta
            if loss == "square"
            else y * np.exp(np.minimum(-y * (x @ beta), 50.0))
        )
        return x.T @ pull / samples

    times = math.exp(log_t) * np.linspace(0.02, 0.98, 25)
    found = scipy.integrate.solve_ivp(
        velocity, (0.0, times[-1]), np.zeros(features), "LSODA", times,
        rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    exact = (scale**2 * np.sinh(2 * found.y)).T
    got = curve.at(log_t=np.log(times)).network
    miss = np.abs(np.asarray(got.u * got.v) - exact)
    error = np.max(miss) / np.max(np.abs(exact)) / rtol
    case = f"diagonal x {scale:g}, {loss} loss, rtol {rtol:g}"
    return row_of(case, curve, seconds, error, "rtol", error=50.0)


def main(scales=SCALES, xor_scales=XOR_SCALES):
    """Measure all cases, print a row for each, and return the rows."""
    jax.config.update("jax_enable_x64", True)
    _bench.emit(_bench.versions())
    rows = [modes(depth, scale) for depth in (2, 3) for scale in scales]
    rows += [modes(2, 1e-5, rotated=True), modes(2, 1e-8, rotated=True, rtol=1e-9)]
    rows += [modes(2, 1e-30, rotated=True)]
    # So many weights that only the fastest modes of their motion are looked for.
    rows += [modes(2, 1e-12, (4.0, 2.0, 1.0), rotated=True, width=20)]
    # LSODA as far down as it gets in seconds, and once in minutes; below, escapes come
    # later by the logarithm of the scale.
    exact = lsoda_escapes(LSODA_SCALE, LOSSES)
    rows += [escapes(LSODA_SCALE, rtol=r, exact=exact)[1] for r in (1e-6, 1e-8)]
    exact = np.array(LSODA_AT_1E_8) + math.log(1e-8)
    rows += [escapes(scale, exact=exact)[1] for scale in xor_scales]
    rows += [escapes(1e-8, rtol=1e-8, exact=exact)[1]]
    for loss in ("square", "exponential"):
        rows += [diagonal(scale, loss) for scale in scales]
    _bench.table(rows, COLUMNS)
    return rows


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
