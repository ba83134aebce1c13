"""How a solve ended, in words that say what to try."""

import enum


class RESULTS(enum.Enum):
    """How a solve ended; `print` of a member is what it means and what to try."""

    successful = "The flow reached `until`."
    interrupted = (
        "The solve was interrupted; the trajectory holds what was computed. To go on, "
        "give `solve` a `checkpoint` and call `gflow.resume`."
    )
    out_of_steps = (
        "The solve took `max_steps` steps without meeting `until`. Raise `max_steps`, "
        "loosen `rtol`, or ask for less."
    )
    step_underflow = (
        "The step fell below the rounding of the weights: the stages could not be "
        "solved at any step. Derivatives that jump or are not finite do this, and "
        "samples that squared ReLUs lose, or see again, by less than rounding. Use a "
        "smoother network, other weights to start from, or a larger `rtol`."
    )
    critical_point = (
        "The flow has come to rest at a critical point of the loss at finite weights: "
        "no unit and no mode of its motion grows, and `until` will not be met."
    )
    balanced = (
        "The flow is held in balance by samples that contradict each other, and what "
        "the others still pull is lost in the rounding of that: where it goes is not "
        "known from here on. The loss is right. Ask for a time before, or leave out "
        "samples that contradict others."
    )
    unresolved = (
        "A mode of the motion grows, as at a saddle of the loss, whose amplitude is "
        "below the tolerance or the rounding of the weights: whether the flow leaves "
        "the path that it is on, and for where, is not known from here on. Lower "
        "`rtol`, start elsewhere, or ask for a time before."
    )
    vanishing = (
        "The weights shrink to zero and stay there: the correlation of the network "
        "with the labels is not positive where its direction has converged. Start from "
        "larger weights, or from others."
    )

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return f"RESULTS.{self.name}"
