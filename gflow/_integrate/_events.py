"""Gates that the loop over steps leaves to be decided, by Filippov's rule."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._sides import packed
from .._slides import with_gates
from ._attempt import RUNNING, STUCK
from ._carry import Carry, strong
from ._run import Run
from ._turns import turn


TURNS = 20
"""How often gates are decided at one place; then steps become shorter, until what they
miss is below the tolerance."""

SHORTER = 0.1
"""What is left of a step that gates at its start stop, and stay as they are."""


def decide(run: Run) -> None:
    """Decide the gates that the carry of a run asks for, so that it can go on."""
    carry, steps = run.carry, int(run.carry.accepted)
    run.turns = run.turns + 1 if run.turned_at == steps else 0
    run.turned_at = steps
    stuck = int(carry.status) == STUCK
    asked = np.flatnonzero(np.asarray(carry.asked))
    turned = carry
    if not stuck or run.turns < TURNS:
        turned = turn(with_gates(run.field, carry.gates), carry, asked)
    if stuck and (turned is carry or _alike(turned, carry)):
        turned = eqx.tree_at(lambda c: c.length, carry, SHORTER * carry.length)
    else:
        run.note_gates([(float(carry.tau), np.asarray(packed(turned.gates)))])
    run.carry = strong(turned)
    run.go_on(
        asked=np.zeros_like(carry.asked),
        passed=carry.passed + asked.size,
        status=np.int64(RUNNING) if stuck else carry.reached,
    )


def _alike(one: Carry, other: Carry) -> bool:
    """Whether gates are the same, whatever room there is."""
    slides = (set(np.asarray(c.gates.slides).ravel().tolist()) for c in (one, other))
    same = bool(jnp.array_equal(one.gates.on, other.gates.on))
    return same and next(slides) == next(slides)
