from .kvaerno import (
    SampleSpaceKvaerno3 as SampleSpaceKvaerno3,
    SampleSpaceKvaerno5 as SampleSpaceKvaerno5,
)
from .sample_space import (
    AbstractSampleSpaceSolver as AbstractSampleSpaceSolver,
    SampleSpaceState as SampleSpaceState,
    first_state as first_state,
)
from .stock import gradients_per_attempt as gradients_per_attempt, prepare as prepare
