"""A solve under way: all it is, and all it has computed."""

import dataclasses
import math
from dataclasses import replace

import diffrax as dfx
import numpy as np
from jaxtyping import PyTree

from .._field import Field
from .._observables import Observables
from .._steps import Sample, Steps
from .._turned import Turns
from .._until import SaveAt, Until
from .._walls import with_room
from ._attempt import RUNNING
from ._carry import Carry, strong
from ._modes import NOTHING_LOST, Lost


@dataclasses.dataclass
class Run:
    """What `solve` works on, and what `resume` reads back.

    Attributes:
        field: The vector field.
        degree: The degree of the network, NaN if it has none.
        until: When to stop.
        rtol: The relative tolerance.
        atol: The absolute tolerance.
        solver: The solver, its stage tolerance set.
        max_steps: The most steps to try, rejected ones counted.
        memory: The most bytes that may take.
        save: What to keep, or `None` for all steps.
        weights: The weights of the network at the start, as they were given.
        start: The first sample.
        carry: The state of the loop.
        steps: Chunks of accepted steps; the last one and the step before it, if `save`
            is given.
        saved: Chunks of samples at the times of `save`, or where all steps would take
            more than `memory`,
        seen: or of what it observes.
        stride: Of how many steps the end of one is kept; zero for all of each.
        filed: From how many points these are taken.
        event_side: The sign of the event of `until` so far; zero if it has had none.
        event_at: The logarithm of time where it was passed.
        compile_seconds: Spent on tracing and compiling.
        run_seconds: Spent on steps.
        verdict: What was measured where the flow rested last.
        lost: Whether there may be modes whose amplitudes are not known.
        known_until: The logarithm of time from which rounding may have grown so much in
            such a mode that nobody knows where the flow is.
        unwatched: From where its modes were not found, if they were not.
        balanced: Whether the last step has lost what samples pull in a balance.
        turns: How often gates were decided since this many steps,
        turned_at: the number of steps then.
        gates: The turns of its gates.
        ahead: The run before the steps that are shortened to end at `until`: what a
            checkpoint keeps, so that a later end is on the same curve.
    """

    field: Field
    degree: float
    until: Until
    rtol: float
    atol: float
    solver: dfx.AbstractAdaptiveSolver
    max_steps: int
    memory: float
    save: SaveAt | None
    weights: np.ndarray
    start: Sample
    carry: Carry
    steps: list[Steps] = dataclasses.field(default_factory=list)
    saved: list[Sample] = dataclasses.field(default_factory=list)
    seen: list[Observables] = dataclasses.field(default_factory=list)
    stride: int = 0
    filed: int = 0
    event_side: float = 0.0
    event_at: float | None = None
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    verdict: str | None = None
    lost: Lost = NOTHING_LOST
    known_until: float = math.inf
    unwatched: str | None = None
    balanced: bool = False
    turns: int = 0
    turned_at: int = -1
    gates: Turns = dataclasses.field(default_factory=list)
    ahead: "Run | None" = None

    def note_gates(self, turns: Turns) -> None:
        """Keep the turns at which gates are others than before."""
        for tau, bits in turns:
            if not self.gates or not np.array_equal(self.gates[-1][1], bits):
                self.gates.append((tau, bits))

    @property
    def levels(self) -> Until:
        """`until`, or a time before: that of its event, or the last that is known."""
        asked = self.until.log_t if self.event_at is None else self.event_at
        log_t = min(math.inf if asked is None else asked, self.known_until)
        return self.until if log_t == math.inf else replace(self.until, log_t=log_t)

    def attempts(self) -> int:
        """The steps tried so far."""
        return int(self.carry.accepted) + int(self.carry.rejected)

    def go_on(self, **parts: PyTree) -> None:
        """Leave the reason that the loop has stopped for, with these parts new."""
        parts = strong({"status": np.int64(RUNNING)} | parts)
        self.carry = replace(self.carry, **parts)

    def make_room(self) -> None:
        """Go on with room for walls."""
        self.go_on(walls=with_room(self.carry.point.size))

    def land(self, length: float) -> None:
        """Go on with a step of this length, which ends where the flow meets a level."""
        self.go_on(landing=np.float64(0))
        if self.ahead is None:
            self.ahead = replace(
                self,
                steps=list(self.steps),
                saved=list(self.saved),
                seen=list(self.seen),
                gates=list(self.gates),
                event_at=None,
            )
        self.go_on(length=np.float64(length), landing=np.float64(length))
