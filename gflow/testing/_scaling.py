"""Whether a network scales with its weights as its degree says."""

import numpy as np

from ._points import Points
from ._report import require_close


TOLERANCE = 1e-9
"""Both laws hold to rounding, about 1e-13, or fail by far more."""

LEAST = 1e-9
"""Outputs this small against those at other weights may be rounding."""


def check_scaling(points: Points, degree: float) -> None:
    """Outputs at c w are c^L times those at w; and Euler's identity."""
    values = [np.asarray(points.outputs(w)) for _, w in points.rows]
    sizes = [np.max(np.abs(value)) for value in values]
    span = 2.0 ** min(10.0, 200 / max(abs(degree), 1.0))
    for (kind, w), value, size in zip(points.rows, values, sizes, strict=True):
        if size <= LEAST * max(sizes):
            continue
        law = (
            "`network` must be homogeneous in its weights, f(x; c w) = c^L f(x; w), of "
            f"degree L = {degree:.6g}"
        )
        for c in (1 / span, 0.5, 2.0, span):
            expected = c**degree * value
            require_close(
                points.outputs(c * w),
                expected,
                TOLERANCE * c**degree * size,
                law,
                lambda at, c=c, kind=kind: (
                    f"at c = {c:.4g} and {kind} weights on sample {at[0]}"
                ),
            )
        law = (
            "`network` must obey Euler's identity <w, df/dw> = L f with degree L = "
            f"{degree:.6g}"
        )
        require_close(
            points.derivative(w, w),
            degree * value,
            TOLERANCE * max(abs(degree), 1.0) * size,
            law,
            lambda at, kind=kind: f"at {kind} weights on sample {at[0]}",
        )
