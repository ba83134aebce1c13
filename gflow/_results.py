"""How a solve ended, in words that say what to try."""

import diffrax as dfx


class RESULTS(dfx.RESULTS):
    """Outcomes of `gflow.solve`; each member is its message."""

    interrupted = (
        "The solve was interrupted; the trajectory holds what was computed. To go on, "
        "give `solve` a `checkpoint` and call `gflow.resume`."
    )
    out_of_steps = (
        "The solve took `max_steps` steps without meeting `until`. Raise `max_steps`, "
        "loosen `rtol`, or ask for less."
    )
    step_underflow = (
        "The step fell below the rounding of the clock: the stages could not be solved "
        "at any step. A network whose derivatives jump (ReLU of power 1, max) or are "
        "not finite does this; use a smooth one, or loosen `rtol`."
    )
    stalled = (
        "The flow moves, but the solver hardly does: it takes ever more tiny steps. "
        "Kinks cause it (ReLU of power 1, max), or weights so large that samples "
        "switch at once. Use a smooth network or smaller weights, loosen `rtol`, or "
        "raise `patience`."
    )
    plateau = (
        "The flow has all but stopped with some samples not fitted: a critical point "
        "of the loss at finite weights (the network cannot fit these data), or a "
        "plateau that it leaves, if ever, at log log-times out of reach (from tiny "
        "weights, the neurons that must still grow may be 1e-48 of the rest). Start "
        "from larger weights, or raise `patience`."
    )
    vanishing = (
        "The weights shrink to zero and stay there: the correlation of the network "
        "with the labels is not positive where its direction has converged. Start from "
        "larger weights, or from others."
    )
