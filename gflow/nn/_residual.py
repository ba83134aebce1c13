from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import checked_count
from ._activation import checked_activation, signed_power
from ._homogeneous import AbstractHomogeneous
from ._radius import radius
from ._weights import OutSize, dense_shapes, draw, require_one_input


class ResidualMLP(AbstractHomogeneous):
    r"""A fully connected network with skip connections, yet homogeneous.

    $$h_0 = W_0 x, \qquad h_{j+1} = B_j\, \sigma(A_j h_j) + r^{e_j} S_j h_j, \qquad
      f(x) = v\, h_J$$

    with the activation $\sigma$ of `MLP` and $r = |w|$ the norm of all weights. The
    exponent $e_j$ gives both paths one degree: with $d_j$ that of $h_j$, the blocks
    have $d_0 = 1$ and $d_{j+1} = p (d_j + 1) + 1$, and $f$ has degree $d_J + 1$. A
    skip is the identity, $S_j = I$, or a matrix of weights. On the unit sphere the
    network with identity skips is the usual residual network. Weights start as
    independent Gaussians of variance 1 / in.

    Args:
        in_size: The number of features of one input.
        width: The size of all hidden layers.
        blocks: The number $J$ of residual blocks, at least 1.
        out_size: `"scalar"`, or the number of logits, at least 2.
        skip: `"identity"` or `"linear"`.
        power: As in `MLP`.
        leak: As in `MLP`.
        key: A key of `jax.random`.

    Attributes:
        first: $W_0$.
        blocks: For each block $A_j$, $B_j$ and, for linear skips, $S_j$.
        last: $v$, of shape (width,), or (classes, width).
        power: As given, an int if whole.
        leak: As given.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `gflow.nn.ResidualMLP(64, 16, 2, key=jax.random.key(0))` has degree 6.
    """

    first: Float[Array, "width in"]
    blocks: tuple[tuple[Float[Array, "width width"], ...], ...]
    last: Float[Array, "... width"]
    power: int | float = eqx.field(static=True)
    leak: float = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        width: int,
        blocks: int,
        out_size: OutSize = "scalar",
        skip: Literal["identity", "linear"] = "identity",
        power: int | float = 1,
        leak: float = 0.0,
        *,
        key: PRNGKeyArray,
    ):
        if skip not in ("identity", "linear"):
            raise ValueError(f'`skip` must be "identity" or "linear", but is {skip!r}.')
        width, blocks = checked_count(width, "width"), checked_count(blocks, "blocks")
        self.power, self.leak = checked_activation(power, leak)
        each = 2 if skip == "identity" else 3
        # A chain of as many layers as there are matrices.
        chain = (width,) * (1 + each * blocks)
        drawn = draw(key, dense_shapes(in_size, chain, out_size))
        self.first, *middle, self.last = drawn
        self.blocks = tuple(
            tuple(middle[each * block : each * (block + 1)]) for block in range(blocks)
        )

    @property
    def degree(self):
        degree = 1
        for _ in self.blocks:
            degree = self.power * (degree + 1) + 1
        return float(degree + 1)

    def units(self):
        stream, names = "stream 0", [("stream 0", None)]
        for k, (_, _, *skip) in enumerate(self.blocks):
            after = f"stream {k + 1}" if skip else stream
            names += [(f"branch {k}", stream), (after, f"branch {k}")]
            names += [(after, stream) for _ in skip]
            stream = after
        return (*names, (*(None,) * (self.last.ndim - 1), stream))

    def __call__(self, x, *, key=None):
        del key
        require_one_input(x, (self.first,))
        unit, degree = radius(self), 1
        x = self.first @ x
        for inner, outer, *skip in self.blocks:
            after = self.power * (degree + 1) + 1
            branch = signed_power(inner @ x, self.power, self.leak)
            for matrix in skip:
                x, degree = matrix @ x, degree + 1
            x = outer @ branch + unit ** (after - degree) * x
            degree = after
        return self.last @ x
