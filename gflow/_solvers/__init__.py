from .kvaerno import (
    SampleSpaceKvaerno3 as SampleSpaceKvaerno3,
    SampleSpaceKvaerno5 as SampleSpaceKvaerno5,
)
from .sample_space import (
    AbstractSampleSpaceSolver as AbstractSampleSpaceSolver,
)
from .stock import (
    gradients_per_attempt as gradients_per_attempt,
    is_own as is_own,
    prepare as prepare,
)
from .switching import Switching as Switching
