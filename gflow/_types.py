"""Shapes that public signatures share."""

import numpy as np
from jaxtyping import Array, Float


Scalar = Float[Array, ""]

AnyArray = Array | np.ndarray
"""Of JAX inside the loop over steps, of NumPy on the host after it."""
