"""Shapes that public signatures share."""

from jaxtyping import Array, Float


Scalar = Float[Array, ""]
