"""Arrays of which a part is frozen."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .._tree import Fixed


class Frozen(eqx.Module):
    r"""An array of weights of which a part is frozen; the network reads `value`.

    The frozen entries are no weights: they do not move, and do not count in the norm.
    Where they are zero, as in a pruned layer, the network keeps its degree.

    Args:
        array: The weights at the start.
        mask: True where an entry is frozen; of the shape of `array`.

    Raises:
        ValueError: If the shapes differ, or `mask` does not hold booleans.

    Example:
        `gflow.nn.Frozen(layer, layer == 0)`, and `self.layer.value @ x` in the network.
    """

    free: Float[Array, "*shape"]
    still: Fixed
    mask: Fixed

    def __init__(self, array: ArrayLike, mask: ArrayLike):
        mask, array = np.asarray(mask), jnp.asarray(array)
        if mask.dtype != bool or mask.shape != array.shape:
            raise ValueError(
                f"`mask` must hold booleans in the shape {array.shape} of `array`, but "
                f"holds {mask.dtype} in shape {mask.shape}."
            )
        self.free = jnp.where(mask, 0.0, array)
        self.still = Fixed(jnp.where(mask, array, 0.0))
        self.mask = Fixed(mask)

    @property
    def value(self) -> Float[Array, "*shape"]:
        """The whole array."""
        held: Bool[np.ndarray, "*shape"] = self.mask.value
        return jnp.where(held, self.still.value, self.free)
