"""What an experiment found: predictions, measurements, and whether they agree."""

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any, Literal

import gflow


WIDTH = 88
LATEST = 1e300
"""Near 1e306 a trajectory's log-times stand still, lest they overflow."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity: what is proved of it, what was measured, and how far apart.

    Attributes:
        quantity: What it is, in words; also whether the theorem is asymptotic.
        predicted: By a closed form, an independent solver, or a theorem's bound.
        measured: On the curve; NaN if the curve did not come so far.
        allowed: The largest `error` that the theory and the tolerance leave.
        relation: "=", or "<=" or ">=" if `predicted` bounds what is measured.
        unit: In which errors are counted; by default the size of `predicted`, or 1
            where that is zero.
    """

    quantity: str
    predicted: float
    measured: float
    allowed: float
    relation: Literal["=", "<=", ">="] = "="
    unit: float | None = None

    @property
    def error(self) -> float:
        """How far the measurement is off, or past a bound, in units of `unit`."""
        unit = (abs(self.predicted) or 1.0) if self.unit is None else self.unit
        miss = self.measured - self.predicted
        if self.relation == "=" or math.isnan(miss):
            return abs(miss) / unit
        return max(miss if self.relation == "<=" else -miss, 0.0) / unit

    @property
    def holds(self) -> bool:
        """Whether the error is within what is allowed; NaN is not."""
        return bool(self.error <= self.allowed)

    def cells(self) -> tuple[str, ...]:
        """The texts of a line of the table."""
        bound = "" if self.relation == "=" else f"{self.relation} "
        word = "  unknown" if math.isnan(self.error) else "  FAILS"
        return (
            self.quantity,
            f"{bound}{self.predicted:.6g}",
            f"{self.measured:.6g}",
            f"{self.error:.1e}",
            f"{self.allowed:.1e}" + ("" if self.holds else word),
        )


@dataclasses.dataclass(frozen=True)
class Finding:
    """A published result beside its measurement; `print` shows it as a table.

    Errors are relative, but where the prediction is zero, and where a `Row` has a unit.

    Attributes:
        name: Of the experiment.
        claim: What is proved, in a sentence.
        source: Where.
        settings: The arguments, defaults included, but for `max_steps`.
        rows: Predictions and measurements.
        curves: The flows that were followed, the one of most interest first.
        limit: Where the first ends, if that was asked.
    """

    name: str
    claim: str
    source: str
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    curves: tuple["gflow.Trajectory", ...]
    limit: "gflow.Limit | None" = None

    @property
    def curve(self) -> "gflow.Trajectory":
        """The first of the flows."""
        return self.curves[0]

    @property
    def reached(self) -> bool:
        """Whether each flow was followed to the end that was asked for."""
        return all(curve.result == gflow.RESULTS.successful for curve in self.curves)

    @property
    def holds(self) -> bool:
        """Whether each flow came to its end, and each row holds."""
        return self.reached and bool(self.rows) and all(r.holds for r in self.rows)

    def __repr__(self) -> str:
        """The claim, a table of the rows, how the runs ended, and the seconds."""
        shown = {k: f"{v:g}" if isinstance(v, float) else f"{v}"
                 for k, v in self.settings.items()}  # fmt: skip
        settings = ", ".join(f"{k}\u00a0=\u00a0{v}" for k, v in shown.items())
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        verdict = verdict if self.reached else "not shown, a flow ended early"
        lines = [f"{self.name}: {verdict}"]
        for text in (self.claim, f"{self.source}.", f"With {settings}."):
            lines += [line.replace("\u00a0", " ") for line in wrapped(text)]
        head = ("", "predicted", "measured", "error", "allowed")
        cells = [head, *(row.cells() for row in self.rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(head))]
        lines += [
            "  ".join(
                text.ljust(width) if k != 3 else text.rjust(width)
                for k, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        lines += [ending(curve) for curve in self.curves]
        return "\n".join([lines[0], *(f"  {line}" for line in lines[1:])])


def wrapped(text: str) -> list[str]:
    """Lines of a paragraph, two columns narrower than the page."""
    return textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False)


def ending(curve: "gflow.Trajectory") -> str:
    """How a run ended, and how long it took, in a line or two."""
    stats = curve.stats
    steps = f"{stats['steps']} steps, {stats['rejected']} rejected"
    spent = f"{stats['run_seconds']:.2f} s, {stats['compile_seconds']:.1f} to compile"
    place = f"log t = {float(curve.log_t[-1]):.6g}"
    if float(curve.log_t[-1]) > LATEST:
        place = f"log |w| = {float(curve.log_radius[-1]):.6g}"
    line = f"ended {curve.result.name} at {place}: {steps}; {spent}"
    if curve.result == gflow.RESULTS.successful:
        return line
    return "\n  ".join([line, *wrapped(str(curve.result))])
