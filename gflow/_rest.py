r"""What a flow that seems to rest will do: the modes of its motion at one point.

Where nothing moves on a step but what grows in its frame, the error of the step says
nothing of modes that are unstable and too small to be seen, and an implicit step damps
them. So the Jacobian of the motion in the frame is formed, each unit in its own size,
and its eigenvalues say what stands still, what decays, and what grows.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._carry import Carry, Tolerance
from ._compile import compiled
from ._field import Field
from ._frame import REST, make_frame
from ._until import Until


MOST_WEIGHTS = 600
"""The Jacobian is dense: its eigenvalues take some seconds beyond."""

NOISE = 1e-12, 1e-3
"""Eigenvalues below this share of the pulls in their modes are zero, or below this
times `rtol`: so far from a critical point a unit may be that rests."""

YET = 10.0
"""How much more than their pull."""

ROUNDING = 1e-15
"""What of the pull of the samples at a unit is rounding."""

ARRIVED = 1e-3
"""The distance to a critical point, in sizes of units, that is none, times `rtol`: with
no mode that grows or drifts, the flow goes there and stays."""

SEEN = 100.0
"""Modes of an amplitude above this times `rtol` are in the error of a step."""

CLEAR = 10.0
"""Modes so much larger than what is lost are known."""

ALIKE, NEW = 0.5, 1e-3
"""A mode is one that was lost if so much of it is in their span; and a mode adds to the
span if so much of it is not."""

GAP = 100.0
"""Units whose sizes differ by this factor are decomposed apart."""

TURNS = 0.1
"""Modes less of which is apart from the sizes of growing units are of these sizes."""

SMALL = 1e-2
"""Only units below this size, against the whole network, have an escape before them."""

LEAP = 0.03
"""How far small units may grow on the first step after all others came to rest: it is
solved as any, and only its length is guessed from their rate."""

LATEST = 600.0
"""Steps reach every log t up to this at a critical point."""

FOLLOWED = 0.35
"""The length of a step on which an unstable mode is followed, in units of its time, at
a tolerance of 1e-6: its growth by e is then right to about 1e-6."""


class Modes(NamedTuple):
    r"""The motion near a point.

    Attributes:
        rate: Of the fastest unstable mode, against the frame; 0 if there is none.
        amplitude: Of that mode, in sizes of units.
        rounding: Below which its amplitude cannot be known.
        vector: Of that mode, in weights, of norm one.
        fading: The modes that grow, but less than the units that they are in, and have
            fallen behind them below the tolerance: in weights, one a column.
        fades_in: How soon the next one will.
        count: How many modes are unstable.
        distance: How far the flow would go if the modes that decay had their time.
        drift: How fast modes that neither grow nor decay move all the same, in sizes of
            units.
        moves: Whether a unit that is not small grows.
        growth: The greatest rate of growth of a small unit, in the frame.
        smallest: The size of the unit that grows so fast, against the whole.
        resting: The share of the largest gradient, unit by unit, in its pulls.
    """

    rate: float
    amplitude: float
    rounding: float
    vector: np.ndarray
    fading: np.ndarray
    fades_in: float
    count: int
    distance: float
    drift: float
    moves: bool
    growth: float
    smallest: float
    resting: float

    def known(self, lost: np.ndarray, rtol: float) -> bool:
        """Whether the amplitude of the fastest unstable mode is a known one.

        What was lost was small: of a mode that is large now it can be no great part.
        """
        if self.amplitude > CLEAR * SEEN * rtol:
            return True
        among = lost.T @ self.vector if lost.size else np.zeros(1)
        return self.amplitude > self.rounding and np.linalg.norm(among) < ALIKE

    def hidden(self, rtol: float) -> bool:
        """Whether the error of a step does not see the fastest unstable mode."""
        return self.rate > 0 and self.amplitude < SEEN * rtol

    def critical(self, rtol: float) -> bool:
        """Whether the point is critical, nothing grows, and there is no way to go."""
        still = self.rate == 0 and self.growth == 0 and not self.moves
        return still and self.distance <= ARRIVED * rtol and self.drift == 0

    @property
    def leap(self) -> float:
        """A step over which nothing happens but that what grows does so a little."""
        fastest = max(self.rate, self.growth, self.drift)
        still = fastest > 0 and not self.moves
        return min(LEAP / fastest, self.fades_in) if still else 0.0

    def unknowable(self, lost: np.ndarray, way: float, rtol: float) -> bool:
        """Whether an unstable mode that is not known may escape before a unit does.

        Args:
            lost: The modes whose amplitudes are lost.
            way: How far the flow is followed at most.
            rtol: What a mode may grow to and still count for nothing.
        """
        if self.rate == 0 or self.known(lost, rtol):
            return False
        most = max(self.amplitude, self.rounding, 1e-300)
        if not lost.size and np.log(most) + self.rate * way < np.log(rtol):
            return False
        if self.growth == 0:
            return True
        largest = max(self.amplitude, self.rounding, 1e-300)
        earliest = -np.log(largest) / self.rate
        return earliest < -np.log(max(self.smallest, 1e-300)) / self.growth


def modes(field: Field, carry: Carry, tolerance: Tolerance) -> Modes | None:
    """The modes where a loop stopped; `None` if there are too many weights."""
    if carry.point.size > MOST_WEIGHTS:
        return None
    found = compiled(_motion)(field, carry, tolerance)
    # Weights that are zero and that nothing pulls at stay so, exactly.
    point, pull = np.asarray(found.pop("point")), np.asarray(found["pull"])
    live = np.flatnonzero((point != 0) | (pull != 0))
    if not np.any(pull):  # nothing pulls at anything: it stands still for ever
        none = np.zeros((point.size, 0))
        zero = np.zeros(point.size)
        return Modes(0, 0, 0, zero, none, np.inf, 0, 0, 0, False, 0, 0, 0)
    matrix = np.asarray(found.pop("matrix"))[np.ix_(live, live)]
    part = {name: np.asarray(value)[live] for name, value in found.items()}
    force, pull, rate, size = (part[n] for n in ("force", "pull", "rate", "size"))
    values, right, inverse = _eigenvectors(matrix, size)
    unit, ahead = part["unit"].astype(int), rate > 0
    radial = np.where(
        (unit[:, None] == np.unique(unit[ahead])) & ahead[:, None],
        (point[live] / part["size"])[:, None],
        0.0,
    )
    # What rounding in the rows of the matrix moves an eigenvalue by, to first order.
    doubt = np.sum(np.abs(inverse) * part["pulled"] * np.abs(right).T, axis=1)
    noise = max(NOISE[0], NOISE[1] * float(tolerance.rtol)) * doubt + 1e-300
    # Units on their way to rest change the rates by about as much as they are pulled.
    still = np.where(rate > 0, 0.0, np.abs(force))
    noise = noise + YET * np.sum(np.abs(inverse) * still * np.abs(right).T, axis=1)
    along, values = inverse @ force, values.real
    blur = ROUNDING * np.abs(inverse) @ pull + 1e-300
    # The sizes of units that grow are known, and how fast they do is no mode.
    across = right - radial @ (np.linalg.pinv(radial) @ right)
    turns = np.linalg.norm(across, axis=0) > TURNS * np.linalg.norm(right, axis=0)
    grows, decays = (values > noise) & turns, values < -noise
    fastest = int(np.argmax(np.where(grows, values, -np.inf)))
    top = float(values[fastest]) if grows[fastest] else 0.0
    distance = np.linalg.norm(right[:, decays] @ (along[decays] / values[decays]))
    # What units that rest are pulled by is no drift: it is taken for none.
    least = 2 * max(REST[0] * float(tolerance.rtol), 100 * ROUNDING)
    drifts = ~(grows | decays) & (np.abs(along) * ROUNDING > least * blur)
    small = np.where(size < SMALL, rate, 0.0)
    fast_unit = int(np.argmax(small))
    growth, smallest = float(small[fast_unit]), float(size[fast_unit])
    amplitudes = np.abs(along) / np.maximum(np.abs(values), 1e-300)
    in_weights = values + np.real(np.sum(inverse * rate * right.T, axis=1))
    behind = decays & (in_weights > noise)
    above = np.maximum(amplitudes, 1e-300) / (SEEN * float(tolerance.rtol))
    fades = behind & (above < 1)
    soon = np.where(
        behind & ~fades, np.log(above) / np.maximum(-values, 1e-300), np.inf
    )
    vectors = np.zeros((point.size, values.size))
    vectors[live] = size[:, None] * right.real
    vectors /= np.maximum(np.linalg.norm(vectors, axis=0), 1e-300)
    shares = np.abs(force) / np.maximum(part["pulled"], 1e-300)
    return Modes(
        rate=top,
        amplitude=float(amplitudes[fastest]) if top > 0 else 0.0,
        rounding=float(blur[fastest]) / top if top > 0 else 0.0,
        vector=vectors[:, fastest],
        fading=vectors[:, fades],
        fades_in=float(np.min(soon)),
        count=int(np.sum(grows)),
        distance=float(distance) / np.sqrt(len(force)),
        drift=float(np.max(np.where(drifts, np.abs(along), 0.0), initial=0.0)),
        moves=bool(np.any(rate > np.maximum(small, noise))),
        growth=growth,
        smallest=smallest,
        resting=float(np.max(shares, initial=0.0)),
    )


def _eigenvectors(matrix: np.ndarray, size: np.ndarray):
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


def _motion(field: Field, carry: Carry, tolerance: Tolerance):
    """The Jacobian of the motion in the frame, and the motion, in sizes of units."""
    frame = make_frame(
        field, carry.point, carry.log_radius, carry.dual, carry.gradient,
        carry.length, tolerance.rtol,
    )  # fmt: skip
    frame = eqx.tree_at(lambda f: f.rest, frame, jnp.zeros_like(frame.rest))

    def motion(relative):
        point = frame.size * relative
        margins = field.margins(point)
        dual = frame.dual_weights(margins, jnp.zeros(()))
        _, gradient = frame.negative_gradient(point, dual)
        return (gradient - frame.rate * point) / frame.size

    relative = frame.start / frame.size
    pull = field.pull_sizes(frame.dual) @ jnp.abs(frame.jacobian)
    return {
        "matrix": jax.jacfwd(motion)(relative),
        "force": (carry.gradient - frame.rate * frame.start) / frame.size,
        "pull": pull / frame.size,
        "pulled": frame.pulled / frame.size,
        "rate": frame.rate,
        "size": frame.size / jnp.sqrt(jnp.sum(frame.start**2)),
        "point": frame.start,
        "unit": frame.unit,
    }


def in_words(found: Modes) -> str:
    """What was measured."""
    facts = [f"gradient at most {found.resting:.1e} of the pulls of the samples"]
    facts.append(f"distance to rest {found.distance:.1e}")
    if found.rate > 0:
        facts.append(
            f"{found.count} unstable modes, the fastest of rate {found.rate:.4g} in "
            f"the clock of the step, amplitude {found.amplitude:.1e}, known to "
            f"{found.rounding:.1e}"
        )
    else:
        facts.append("no unstable mode")
    if found.growth > 0:
        facts.append(
            f"a unit of size {found.smallest:.1e} grows at rate {found.growth:.4g}"
        )
    return f"Measured: {'; '.join(facts)}."


def way_to(until: Until, field: Field, carry: Carry) -> float:
    """How far it is to the end, in the clock of the step, where a flow rests.

    Of a radius that grows as it does: infinite if no level of it is asked for.
    """
    size = np.linalg.norm(np.asarray(carry.point))
    growth = float(carry.point @ carry.gradient) / size**2 if field.polar else 0.0
    goals = [until.log_radius]
    if until.log_margin_scale is not None:
        goals.append(until.log_margin_scale / float(field.degree))
    left = [goal - float(carry.log_whole) for goal in goals if goal is not None]
    return min(left) / growth if left and growth > 0 else np.inf


def follow(found: Modes, rtol: float) -> tuple[float, float]:
    """The longest step that follows a hidden mode, and the way until it is seen."""
    longest = FOLLOWED * min(1.0, (rtol / 1e-6) ** 0.2) / found.rate
    return longest, np.log(SEEN * rtol / found.amplitude) / found.rate
