r"""Filippov's rule at kinks: which gates are on, off, or in between.

At $u_k = 0$ the flow moves by $F + \sum_k s_k c_k v_k$, $v_k = \nabla u_k$, with gates

$$s_k = 1 \text{ and } u_k' \geq 0, \quad s_k = 0 \text{ and } u_k' \leq 0, \quad
  \text{or } 0 < s_k < 1 \text{ and } u_k' = 0 .$$

Where all $c_k < 0$ (attracting kinks) these are the optimality conditions of
$\min |F + \sum_k t_k v_k|^2$, $c_k \leq t_k \leq 0$. Kinks with $c_k > 0$ are crossed.

References:
    Filippov (1988), "Differential Equations with Discontinuous Righthand Sides".
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import lsq_linear
from scipy.sparse.csgraph import connected_components


APART = 1e-12
"""Kinks whose cosine is below this do not know of each other."""

WEAK = 1e-12
"""A kink this much weaker than the rest of its problem has no say in it."""

BETWEEN = 1e-9
"""A gate so near to 1 is on."""

ROUNDS = 12
"""Passes over the kinks that are crossed; two are common."""

PIVOTS = 4
"""Changes of gates, for each kink, before those tried last are taken."""

DEPENDENT = 1e-9
"""A direction that is so much of one is not in the span of those before."""


def mixed_gates(
    rows: Float[np.ndarray, "kinks weights"],
    strength: Float[np.ndarray, " kinks"],
    force: Float[np.ndarray, " weights"],
    was: Bool[np.ndarray, " kinks"],
    new: Bool[np.ndarray, " kinks"],
    old: Bool[np.ndarray, " kinks"],
) -> Float[np.ndarray, " kinks"]:
    """The gates of kinks at $u = 0$: 0, 1, or in between where they are slid along.

    Args:
        rows: $v_k$.
        strength: $c_k$.
        force: $F$, with all these gates off.
        was: Whether each was on.
        new: Those to decide; the others keep theirs unless they are near one of these.
        old: Those slid along so far.
    """
    sizes = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(sizes > 0, sizes, 1.0)[:, None]
    gates = np.where(old & (sizes > 0), 0.5, was.astype(float))
    for part in groups(rows):
        if np.any(new[part]):
            gates[part] = _solve(unit[part], (strength * sizes)[part], force)
    return gates


def _solve(unit, strength, force):
    """The gates of kinks that know of each other."""
    slope = unit @ force
    gram = unit @ unit.T
    gates = (slope > 0).astype(float)
    attracts = strength < 0
    for _ in range(ROUNDS):
        old = gates.copy()
        others = slope + gram @ np.where(attracts, 0.0, strength * gates)
        gates[attracts] = _attracted(
            unit[attracts], strength[attracts], others[attracts]
        )
        speed = slope + gram @ (strength * gates)
        gates[~attracts] = speed[~attracts] > 0
        if np.array_equal(gates, old):
            break
    return gates


def _attracted(unit, strength, slope):
    """The gates of attracting kinks, where the others move them at `slope`."""
    scale = max(np.max(np.abs(slope), initial=0.0), 1e-300)
    scale = max(scale, np.max(np.abs(strength), initial=0.0) * WEAK)
    low = np.maximum(strength / scale, -1 / WEAK)
    strong, t = low < -WEAK, np.zeros(len(low))
    if np.any(strong):
        # A factor of the Gram matrix in place of the rows: as many columns as rows.
        _, factor = np.linalg.qr(unit[strong].T)
        goal = np.linalg.lstsq(factor.T, -slope[strong] / scale, rcond=1e-12)[0]
        t[strong] = lsq_linear(
            factor, goal, (low[strong], 0.0), method="bvls", tol=1e-15
        ).x
    speed = slope / scale + unit @ (unit.T @ t)
    s = (speed > 0).astype(float)  # of those without a say
    s[strong] = t[strong] / low[strong]
    s[strong & (s > 1 - BETWEEN)] = 1.0
    s[strong & (-t <= WEAK)] = 0.0
    return s


def pivoted_gates(
    motion: Callable,
    on: Bool[np.ndarray, " kinks"],
    slides: Bool[np.ndarray, " kinks"],
) -> tuple[Bool[np.ndarray, " kinks"], Bool[np.ndarray, " kinks"]]:
    """Filippov's rule where kinks lie behind kinks, one kink after the other.

    What a gate does depends on those behind it there, and how its kink moves on those
    before it. So gates are tried: the first kink, as they are numbered, whose gate the
    motion contradicts changes it. (For kinks of one layer this is Murty's method for
    linear complementarity, which ends.)

    Args:
        motion: From `on` and `slides` to $u'$ and $c$ of all kinks, the multipliers of
            those slid along, and how far these may be outside of [0, 1].
        on: The gates to try first.
        slides: The kinks to try to slide along.

    Returns:
        The gates, and the kinks that are slid along.
    """
    on, slides = on.copy(), slides.copy()
    seen = set()
    for _ in range(PIVOTS * (len(on) + 1)):
        speed, strength, s, slack = motion(on, slides)
        out = slides & ((s < -slack) | (s > 1 + slack))
        wrong = ~slides & np.where(on, speed < 0, speed > 0)
        found = np.flatnonzero(out | wrong)
        if found.size == 0:
            break
        state = (on.tobytes(), slides.tobytes())
        # Once around: another order.
        k = found[-1] if state in seen else found[0]
        seen.add(state)
        if out[k]:
            on[k], slides[k] = s[k] > 1, False
        elif strength[k] < 0:
            on[k], slides[k] = False, True
        else:
            on[k] = ~on[k]
    return on, slides


def independent(
    rows: Float[np.ndarray, "kinks weights"],
) -> Int[np.ndarray, " some"]:
    """Which rows are independent of those before."""
    chosen = []
    for part in groups(rows):
        # Each group by itself: units of size 1e-50 must not see rounding of others.
        columns = np.flatnonzero(np.any(rows[part] != 0, axis=0))
        block = rows[np.ix_(part, columns)]
        block = block / np.linalg.norm(block, axis=1, keepdims=True)
        triangle = np.linalg.qr(block.T, mode="r")
        adds = np.flatnonzero(np.abs(np.diag(triangle)) > DEPENDENT)
        chosen.append(part[adds])
    return np.concatenate(chosen) if chosen else np.zeros(0, int)


def groups(rows: Float[np.ndarray, "kinks weights"]) -> list[np.ndarray]:
    """The numbers of rows that are not orthogonal to each other, directly or not."""
    sizes = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(sizes > 0, sizes, 1.0)[:, None]
    near = np.abs(unit @ unit.T) > APART
    count, group = connected_components(near, directed=False)
    return [np.flatnonzero((group == k) & (sizes > 0)) for k in range(count)]
