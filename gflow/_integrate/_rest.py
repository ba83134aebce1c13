r"""What a flow that seems to rest will do: the modes of its motion at one point.

Where nothing moves on a step but what grows in its frame, the error of the step says
nothing of modes that are unstable and too small to be seen, and an implicit step damps
them. So eigenvalues of the Jacobian of the motion in the frame, each unit in its own
size, say what stands still, what decays, and what grows: all of few weights, the
greatest of many.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from .._compile import compiled
from .._field import Field
from .._frame import Frame
from .._framing import REST
from ._carry import Carry, Tolerance
from ._modes import SEEN, Growing, Modes
from ._motion import backward, forward, motion
from ._spectrum import (
    Products,
    Spectrum,
    all_modes,
    greatest_modes,
    outside_of_range,
    way_to_rest,
)


MOST_WEIGHTS = 600
"""All modes are found of so many weights: a second's work. Of more, the fastest one."""

NOISE = 1e-12, 1e-3
"""Eigenvalues below this share of the pulls in their modes are zero, or below this
times `rtol`: so far from a critical point a unit may be that rests."""

YET = 10.0
"""How much more than their pull."""

ROUNDING = 1e-15
"""What of the pull of the samples at a unit is rounding."""

CANCELED = 1e-3
"""Less of the pulls of some samples in a mode is rounding: they are at right angles."""

TURNS = 0.1
"""Modes less of which is apart from the sizes of growing units are of these sizes."""

SMALL = 1e-2
"""Only units below this size, against the whole network, have an escape before them."""


def modes(field: Field, carry: Carry, tolerance: Tolerance) -> Modes:
    """The modes where a loop stopped; of many weights the fastest one.

    Raises:
        numpy.linalg.LinAlgError: They were not found.
    """
    every = carry.point.size <= MOST_WEIGHTS
    found = compiled(motion)(field, carry, tolerance, every)
    # Weights that are zero and that nothing pulls at stay so, exactly.
    point, pull = np.asarray(found.pop("point")), np.asarray(found["pull"])
    strength = np.asarray(found.pop("shares"))
    live = np.flatnonzero((point != 0) | (pull != 0))
    if not np.any(pull):
        return _none(point.size)
    matrix = found.pop("linear")
    part = {name: np.asarray(value)[live] for name, value in found.items()}
    force, pull, rate, size = (part[n] for n in ("force", "pull", "rate", "size"))
    across, rtol = _apart_from_sizes(part, point[live]), float(tolerance.rtol)
    spectrum, products = _decomposed(part, matrix, live, across)
    values, right, inverse, _ = spectrum
    noise = _noise(part, spectrum, rtol)
    along, values = inverse @ force, np.real(values)
    blur = ROUNDING * np.abs(inverse) @ pull + 1e-300
    turned = np.linalg.norm(across(right), axis=0)
    turns = turned > TURNS * np.linalg.norm(right, axis=0)
    grows, decays = (values > noise) & turns, values < -noise
    if products is None:
        distance = np.linalg.norm(right[:, decays] @ (along[decays] / values[decays]))
        astray = _astray(part, inverse[~(grows | decays)])
    else:
        distance = way_to_rest(products, force, float(np.max(noise)))
        astray = _astray_among_many(part, products)
    # What units that rest are pulled by is no drift: it is taken for none.
    least = 2 * max(REST[0] * rtol, 100 * ROUNDING)
    drifts = ~(grows | decays) & (np.abs(along) * ROUNDING > least * blur)
    amplitudes = np.abs(along) / np.maximum(np.abs(values), 1e-300)
    in_weights = values + np.real(np.sum(inverse * rate * right.T, axis=1))
    behind = decays & (in_weights > noise) & every
    fades, soon = _fading(values, amplitudes, behind, rtol)
    vectors = np.zeros((point.size, values.size))
    vectors[live] = size[:, None] * np.real(right)
    facts = values, amplitudes, blur, in_weights, vectors
    growing = _growing(np.flatnonzero(grows), *facts)
    growth, smallest, change, moves = _units_ahead(part, rtol)
    shares = np.abs(force) / np.maximum(part["pulled"], 1e-300)
    pulled = (part["pulled"] > 0) & (part["size"] > SMALL)
    return Modes(
        every=every,
        growing=growing,
        fades=bool(np.any(fades)),
        fades_in=soon,
        distance=float(distance) / np.sqrt(len(force)),
        drift=float(np.max(np.abs(along[drifts]), initial=0.0)),
        moves=moves,
        growth=growth,
        smallest=smallest,
        change=change,
        resting=float(np.max(shares, initial=0.0)),
        calmest=float(np.min(shares[pulled], initial=np.inf)),
        faint=int(np.sum(strength <= 1)),
        astray=astray,
        faints_at=float(np.min(np.maximum(strength, 1.0), initial=np.inf)),
    )


def _growing(some, values, amplitudes, blur, in_weights, vectors) -> Growing:
    """What is known of some modes, the fastest first."""
    some = some[np.argsort(-values[some], kind="stable")]
    vectors = vectors[:, some]
    extents = np.linalg.norm(vectors, axis=0)
    return Growing(
        rates=values[some],
        amplitudes=amplitudes[some],
        roundings=blur[some] / values[some],
        extents=extents,
        in_weights=in_weights[some],
        vectors=vectors / np.maximum(extents, 1e-300),
    )


def _none(weights: int) -> Modes:
    """Those where nothing pulls at anything: it stands still for ever."""
    zero = np.zeros(0)
    growing = Growing(zero, zero, zero, zero, zero, np.zeros((weights, 0)))
    return Modes(
        every=True, growing=growing, fades=False, fades_in=np.inf,
        distance=0, drift=0, moves=False, growth=0, smallest=0, change=np.inf,
        resting=0, calmest=np.inf, faint=0, astray=0, faints_at=np.inf,
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


def _astray_among_many(part: dict[str, np.ndarray], products: Products) -> float:
    """The same, outside of the range of the motion; NaN if it is not found."""
    faint, pull = part["faint"].T, part["faint_pull"].T
    if not np.any(faint):
        return 0.0
    try:
        along = np.abs([outside_of_range(products, each) for each in faint])
    except np.linalg.LinAlgError:
        return math.nan
    canceled = CANCELED * np.linalg.norm(pull, axis=1)
    along[np.linalg.norm(along, axis=1) <= canceled] = 0.0
    return float(np.max(np.min(along, axis=0)))


def _noise(
    part: dict[str, np.ndarray], spectrum: Spectrum, rtol: float
) -> Float[np.ndarray, " modes"]:
    """How far each eigenvalue may be from what it seems.

    Raises:
        numpy.linalg.LinAlgError: One that may be positive was not found well enough.
    """
    values, right, inverse, doubt = spectrum
    # What rounding in the rows of the matrix moves an eigenvalue by, to first order.
    rounded = np.sum(np.abs(inverse) * part["pulled"] * np.abs(right).T, axis=1)
    noise = max(NOISE[0], NOISE[1] * rtol) * rounded + 1e-300
    # Units on their way to rest change the rates by about as much as they are pulled.
    yet = np.sum(np.abs(inverse) * _still(part) * np.abs(right).T, axis=1)
    noise = noise + YET * yet
    if np.any((doubt > noise) & (np.abs(np.real(values)) < doubt)):
        raise np.linalg.LinAlgError("Whether a mode grows is in doubt.")
    return noise + doubt


def _still(part: dict[str, np.ndarray]) -> np.ndarray:
    """How fast units still move that do not grow."""
    force = np.maximum(np.abs(part["force"]), np.abs(part["motion"]))
    return np.where(part["rate"] > 0, 0.0, force)


def _apart_from_sizes(
    part: dict[str, np.ndarray], point: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """What leaves of vectors what does not change the sizes of units that grow.

    These are known, and how fast they grow is no mode.
    """
    ahead = part["rate"] > 0
    sizes = np.where(ahead, point / part["size"], 0.0)
    _, unit = np.unique(part["unit"], return_inverse=True)
    squares = np.bincount(unit, sizes**2)
    shares = sizes / np.where(squares > 0, squares, 1.0)[unit]

    def across(vectors):
        along = np.zeros((len(squares), *vectors.shape[1:]), vectors.dtype)
        np.add.at(along, unit, (shares * vectors.T).T)
        return vectors - (sizes * along[unit].T).T

    return across


def _decomposed(
    part: dict[str, np.ndarray], matrix: np.ndarray | Frame, live: np.ndarray, across
) -> tuple[Spectrum, Products | None]:
    """All modes of a matrix, or the greatest of a frame, and the products for that."""
    if not isinstance(matrix, Frame):
        return all_modes(np.asarray(matrix)[np.ix_(live, live)], part["size"]), None
    products = _products(matrix, live, across)
    least = YET * float(np.max(_still(part)))
    return greatest_modes(products, part["size"], part["force"], least), products


def _products(frame: Frame, live: np.ndarray, across) -> Products:
    """Those of the Jacobian among weights that may move, the sizes of units apart."""

    def of(product):
        def among(vector):
            whole = np.zeros(frame.start.size)
            whole[live] = across(vector)
            return across(np.asarray(compiled(product)(frame, whole))[live])

        return among

    return Products(of(forward), of(backward))


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
