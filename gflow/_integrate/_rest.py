r"""What a flow that seems to rest will do: the modes of its motion at one point.

Where nothing moves on a step but what grows in its frame, the error of the step says
nothing of modes that are unstable and too small to be seen, and an implicit step damps
them. So the Jacobian of the motion in the frame is formed, each unit in its own size,
and its eigenvalues say what stands still, what decays, and what grows.
"""

import math

import jax
import numpy as np

from .._compile import compiled
from .._field import LOG_HUGE, Field
from .._framing import REST
from .._until import Until
from ._carry import Carry, Tolerance
from ._modes import SEEN, Modes
from ._motion import motion
from ._run import Run


MOST_WEIGHTS = 600
"""The Jacobian is dense: its eigenvalues take some seconds beyond."""

NOISE = 1e-12, 1e-3
"""Eigenvalues below this share of the pulls in their modes are zero, or below this
times `rtol`: so far from a critical point a unit may be that rests."""

YET = 10.0
"""How much more than their pull."""

ROUNDING = 1e-15
"""What of the pull of the samples at a unit is rounding."""

NEW = 1e-3
"""A mode adds to the span of those that are lost if so much of it is not in it."""

CANCELED = 1e-3
"""Less of the pulls of some samples in a mode is rounding: they are at right angles."""

GAP = 100.0
"""Units whose sizes differ by this factor are decomposed apart."""

TURNS = 0.1
"""Modes less of which is apart from the sizes of growing units are of these sizes."""

SMALL = 1e-2
"""Only units below this size, against the whole network, have an escape before them."""


def modes(field: Field, carry: Carry, tolerance: Tolerance) -> Modes | None:
    """The modes where a loop stopped; `None` if there are too many weights."""
    if carry.point.size > MOST_WEIGHTS:
        return None
    found = compiled(motion)(field, carry, tolerance)
    # Weights that are zero and that nothing pulls at stay so, exactly.
    point, pull = np.asarray(found.pop("point")), np.asarray(found["pull"])
    strength = np.asarray(found.pop("shares"))
    live = np.flatnonzero((point != 0) | (pull != 0))
    if not np.any(pull):
        return _none(point.size)
    matrix = np.asarray(found.pop("matrix"))[np.ix_(live, live)]
    part = {name: np.asarray(value)[live] for name, value in found.items()}
    force, pull, rate, size = (part[n] for n in ("force", "pull", "rate", "size"))
    rtol = float(tolerance.rtol)
    values, right, inverse = _eigenvectors(matrix, size)
    noise = _noise(part, right, inverse, rtol)
    along, values = inverse @ force, np.real(values)
    blur = ROUNDING * np.abs(inverse) @ pull + 1e-300
    turns = _turns(part, point[live], right)
    grows, decays = (values > noise) & turns, values < -noise
    fastest = int(np.argmax(np.where(grows, values, -np.inf)))
    top = float(values[fastest]) if grows[fastest] else 0.0
    distance = np.linalg.norm(right[:, decays] @ (along[decays] / values[decays]))
    # What units that rest are pulled by is no drift: it is taken for none.
    least = 2 * max(REST[0] * rtol, 100 * ROUNDING)
    drifts = ~(grows | decays) & (np.abs(along) * ROUNDING > least * blur)
    amplitudes = np.abs(along) / np.maximum(np.abs(values), 1e-300)
    in_weights = values + np.real(np.sum(inverse * rate * right.T, axis=1))
    fades, soon = _fading(values, amplitudes, decays & (in_weights > noise), rtol)
    vectors = np.zeros((point.size, values.size))
    vectors[live] = size[:, None] * np.real(right)
    extents = np.linalg.norm(vectors, axis=0)
    vectors /= np.maximum(extents, 1e-300)
    growth, smallest, change, moves = _units_ahead(part, rtol)
    shares = np.abs(force) / np.maximum(part["pulled"], 1e-300)
    pulled = (part["pulled"] > 0) & (part["size"] > SMALL)
    return Modes(
        rate=top,
        amplitude=float(amplitudes[fastest]) if top > 0 else 0.0,
        rounding=float(blur[fastest]) / top if top > 0 else 0.0,
        extent=float(extents[fastest]),
        growth_of_mode=float(in_weights[fastest]),
        vector=vectors[:, fastest],
        fading=vectors[:, fades],
        fades_in=soon,
        count=int(np.sum(grows)),
        distance=float(distance) / np.sqrt(len(force)),
        drift=float(np.max(np.where(drifts, np.abs(along), 0.0), initial=0.0)),
        moves=moves,
        growth=growth,
        smallest=smallest,
        change=change,
        resting=float(np.max(shares, initial=0.0)),
        calmest=float(np.min(shares[pulled], initial=np.inf)),
        faint=int(np.sum(strength <= 1)),
        astray=_astray(part, inverse[~(grows | decays)]),
        faints_at=float(np.min(np.maximum(strength, 1.0), initial=np.inf)),
    )


def _none(weights: int) -> Modes:
    """Those where nothing pulls at anything: it stands still for ever."""
    zero, none = np.zeros(weights), np.zeros((weights, 0))
    return Modes(
        rate=0, amplitude=0, rounding=0, extent=0, growth_of_mode=0, vector=zero,
        fading=none, fades_in=np.inf, count=0, distance=0, drift=0, moves=False,
        growth=0, smallest=0, change=np.inf, resting=0, calmest=np.inf, faint=0,
        astray=0, faints_at=np.inf,
    )  # fmt: skip


def _astray(part: dict[str, np.ndarray], inverse) -> float:
    """How fast samples that are lost move what nothing else does.

    That is seen in their pulls at units that rest, and in all their pulls: these are at
    right angles to the symmetries of a network.
    """
    along = np.abs(inverse @ part["faint"])
    canceled = CANCELED * np.abs(inverse) @ part["faint_pull"]
    along = np.where(along > canceled, along, 0.0)
    return float(np.max(np.min(along, axis=1, initial=np.inf), initial=0.0))


def _noise(part: dict[str, np.ndarray], right, inverse, rtol: float) -> np.ndarray:
    """How far each eigenvalue may be from what it seems."""
    # What rounding in the rows of the matrix moves an eigenvalue by, to first order.
    doubt = np.sum(np.abs(inverse) * part["pulled"] * np.abs(right).T, axis=1)
    noise = max(NOISE[0], NOISE[1] * rtol) * doubt + 1e-300
    # Units on their way to rest change the rates by about as much as they are pulled.
    force = np.maximum(np.abs(part["force"]), np.abs(part["motion"]))
    still = np.where(part["rate"] > 0, 0.0, force)
    return noise + YET * np.sum(np.abs(inverse) * still * np.abs(right).T, axis=1)


def _turns(part: dict[str, np.ndarray], point, right) -> np.ndarray:
    """Which modes are more than the sizes of units that grow.

    These are known, and how fast they grow is no mode.
    """
    unit, ahead = part["unit"].astype(int), part["rate"] > 0
    radial = np.where(
        (unit[:, None] == np.unique(unit[ahead])) & ahead[:, None],
        (point / part["size"])[:, None],
        0.0,
    )
    across = right - radial @ (np.linalg.pinv(radial) @ right)
    return np.linalg.norm(across, axis=0) > TURNS * np.linalg.norm(right, axis=0)


def _fading(values, amplitudes, behind, rtol: float) -> tuple[np.ndarray, float]:
    """Which of the modes that fall behind fade now, and how soon the next one does."""
    above = np.maximum(amplitudes, 1e-300) / (SEEN * rtol)
    fades = behind & (above < 1)
    soon = np.where(
        behind & ~fades, np.log(above) / np.maximum(-values, 1e-300), np.inf
    )
    return fades, float(np.min(soon))


def _units_ahead(
    part: dict[str, np.ndarray], rtol: float
) -> tuple[float, float, float, bool]:
    """The rate of the fastest small unit, its size, when any one is large; if one is.

    The last is whether units grow that are no longer small.
    """
    rate, size = part["rate"], part["size"]
    small = np.where(size < SMALL, rate, 0.0)
    fastest = int(np.argmax(small))
    ways = np.maximum(-np.log(np.maximum(size, 1e-300)), 1.0)
    least = max(NOISE[0], NOISE[1] * rtol) * part["pulled"]
    changes = np.where(rate > least, ways / np.maximum(rate, 1e-300), np.inf)
    moves = bool(np.any(rate > np.maximum(small, least)))
    return float(small[fastest]), float(size[fastest]), float(np.min(changes)), moves


def _eigenvectors(
    matrix: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues, eigenvectors and their dual basis, units of like size together.

    Small units do not move large ones, to first order: the matrix is block triangular,
    and in one decomposition the rounding of a large block would drown a small one.
    """
    order = np.argsort(-size, kind="stable")
    gaps = np.flatnonzero(size[order][1:] * GAP < size[order][:-1]) + 1
    right, inverse = (np.zeros(matrix.shape, complex) for _ in range(2))
    values = np.zeros(len(matrix), complex)
    for part in np.split(order, gaps):
        found, vectors = np.linalg.eig(matrix[np.ix_(part, part)])
        values[part] = found
        right[np.ix_(part, part)] = vectors
        inverse[np.ix_(part, part)] = np.linalg.pinv(vectors)
    return values, right, inverse


def joined(lost: np.ndarray, more: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the modes whose amplitudes are lost."""
    both = np.concatenate([lost.reshape(len(more), -1), more], axis=1)
    basis, triangle = np.linalg.qr(both)
    return basis[:, np.abs(np.diag(triangle)) > NEW]


def way_to(until: Until, run: Run) -> float:
    """How far it is to the end, in the clock of the step, where a flow rests.

    With a clock that goes on as it does, and a radius that grows so: infinite if
    neither a time nor a radius is asked for.
    """
    field, carry, ways = run.field, run.carry, [math.inf]
    growth = float(field.coordinates.growth(carry.point, carry.gradient))
    goals = [until.log_radius]
    if until.log_margin_scale is not None:
        goals.append(until.log_margin_scale / float(field.degree))
    if growth > 0:
        last = float(carry.log_whole)
        ways += [(goal - last) / growth for goal in goals if goal is not None]
    if until.log_t is not None:
        log_way = until.log_t - _log_pace(run)
        ways.append(math.exp(log_way) if log_way < LOG_HUGE else math.inf)
    return min(ways)


def log_t_in(way: float, run: Run) -> float:
    """The logarithm of time so far on, if the clock of the step goes on as it does."""
    pace = _log_pace(run)
    if way <= 0 or pace == -math.inf:
        return float(run.carry.log_t)
    return float(np.logaddexp(float(run.carry.log_t), math.log(way) + pace))


def _log_pace(run: Run) -> float:
    """The logarithm of time per clock of the step; no time passes before the first."""
    if not run.steps:
        return -math.inf
    last = jax.tree.map(lambda a: a[-1:], run.steps[-1].scalars)
    return float(last.log_rate(np.ones((1, 1)))[0, 0])
