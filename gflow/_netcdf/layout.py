"""How a trajectory lies in a file: names, dimensions, and what they mean.

Names are letters, digits and underscores, as the CF conventions ask; all numbers are
float64 and have no unit, so that `units` is "1" throughout.
"""

FORMAT = 5
"""Raised when files of an older gflow can no longer be read by a newer one."""

CURVE = {  # dimensions, and the meaning
    "tau": (("time",), "clock of the curve"),
    "log_t": (("time",), "natural logarithm of physical time"),
    "log_radius": (("time",), "natural logarithm of the norm of all weights"),
    "log_loss": (("time",), "natural logarithm of the mean loss"),
    "weights": (("time", "margin"), "pull q of each margin on the flow"),
}
"""The fields of a `Trajectory` that are arrays."""

SEEN = {
    "tau": "clock of the curve",
    "log_t": "natural logarithm of physical time",
    "log_radius": "natural logarithm of the norm of all weights",
    "log_loss": "natural logarithm of the mean loss",
}
"""The fields of `Observables` along `observed`, under `observed_` and their name."""

OBSERVABLE = "observable_"
"""And what was observed, under this and its name."""

STEPS = {
    "nodes": (
        ("step", "quarter", "coordinate"),
        "weights in the frame of a step, whose start has norm one, at its quarters",
    ),
    "rates": (("step", "coordinate"), "growth of each weight's frame over a step"),
    "growth": (("step",), "growth of the log-radius of the frame over a step"),
    "log_radius": (("step",), "log-radius at the end of a step"),
    "tau": (("step",), "clock of the curve at the end of a step"),
    "log_t": (("step",), "natural logarithm of physical time at the end of a step"),
    "log_loss": (("step",), "natural logarithm of the mean loss at the end of a step"),
    "weights": (
        ("step", "quarter", "margin"),
        "pull of each margin at the quarters of a step",
    ),
}
"""The fields of `Steps` that are arrays, under `step_` and their name."""

SCALARS = {
    "length": (("step",), "length of a step of the clock of the solver"),
    "log_radius": (("step", "sixth"), "log-radius at the sixths of a step"),
    "rate": (("step", "sixth"), "log(dt/ds) / (1 + R), but for the power"),
    "tau_rate": (("step", "sixth"), "log(dtau/ds)"),
    "loss": (("step", "sixth"), "-log(loss) / (1 + R), or / 2"),
    "degree": (("step",), "degree of homogeneity"),
    "exponent": (("step",), "power of the norm in R"),
    "loss_exponent": (("step",), "power of the norm in R for the loss, or 0"),
    "power": (("step",), "power of the norm in dt/ds"),
}
"""The fields of its `StepScalars`, likewise with `step_scalar_`."""

TURNS = {
    "turn_tau": (("turn",), "clock of the curve where gates of kinks change"),
    "turn_gates": (
        ("turn", "byte"),
        "gates on, then kinks slid along, from there on, eight to a byte",
    ),
    "slides": (("block", "slide"), "kinks that are slid along at the end; -1 for none"),
    "slide_normals": (
        ("block", "slide", "coordinate_of_block"),
        "directions that nothing moves along",
    ),
}
"""What is known of kinks, if there are any."""
