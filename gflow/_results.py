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
        "at any step. A network with kinks (ReLU of power 1, max) does this; use a "
        "smooth one, or loosen `rtol`."
    )
    plateau = (
        "The flow sits on a plateau: direction and radius have stopped, but some samples "
        "are not fitted. What still grows is below the rounding of the direction (as in "
        "ReLU networks from tiny weights, where neurons of the other sign are lost). "
        "Start from larger weights."
    )
    vanishing = (
        "The weights shrink to zero and physical time runs away: the flow ends at the "
        "origin. Start from larger weights or another seed."
    )
    not_finite = (
        "The vector field is not finite here. Check that the network has finite "
        "derivatives on the whole sphere."
    )
