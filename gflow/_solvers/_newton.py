r"""The linear system of Newton's method for the weights of a stage.

$(1 + \eta R\, \mathrm{diag}(q)\, S K)\, x = b$, $S = -\partial \log g / \partial z$, is
symmetric and positive definite once $\mathrm{diag}(q) S = F F^\top$ is split: $1 + \eta
R\, F^\top K F$.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from .._types import Scalar
from ._gram import AbstractPositive


BLOCK = 128
"""The fewest weights that are solved for together, of which the number doubles until
those left out are all but fixed: the cost is the cube of it."""

WORTH = 4 / 3
"""A system is made smaller if it is by this factor."""

LOOSE = 0.3
"""How stiff those left out may be, all together: Newton's method for the weights then
converges by this factor at worst."""


def solve_newton(
    rate: Scalar,
    gram: AbstractPositive,
    lift: Scalar,
    q: Float[Array, " m"],
    decay: Float[Array, " m"],
    shares: Float[Array, "samples per_sample"] | None,
    use: Callable,
) -> PyTree:
    r"""Solutions; where a few weights hold all the stiffness, to first order.

    Args:
        rate: $\eta R$.
        gram: $K$, positive semi-definite.
        lift: The constant that is added to all entries of $K$.
        q: The weights.
        decay: The diagonal of $S$.
        shares: $S$ is $\delta_{kj} - p_j$ within each sample, or diagonal if `None`.
        use: Is called with a function from right-hand sides $b$, of shape (m, k), and
            how far known motions are ahead of their weights, (r, k), which counts as
            part of what the right-hand sides move, to solutions and their motions.

    Returns:
        What `use` does.
    """
    per_sample = 1
    if shares is not None:
        per_sample = shares.shape[1]
        shares, decay = _symmetric(shares, q), jnp.ones(q.size)

    def whole(right, ahead):
        def add_up(columns):
            sums = jnp.sum(columns.reshape(-1, per_sample, columns.shape[1]), axis=1)
            return jnp.repeat(sums, per_sample, axis=0)

        return gram.solve(rate, lift, _Root(q * decay, shares, add_up), right, ahead)

    sizes = _sizes(gram.rank)
    if not sizes:
        return use(whole)

    stiffness = rate * q * decay * (gram.diagonal() + lift)
    ordered, order = jax.lax.top_k(stiffness, stiffness.size)

    def block(size, right, ahead):
        chosen = order[:size]
        sample = chosen // per_sample
        same = (sample[:, None] == sample[None]).astype(float)
        some = None if shares is None else shares[chosen]
        root = _Root((q * decay)[chosen], some, lambda c: same @ c)
        among, some_right = gram.block(chosen, lift), right[chosen]
        if gram.holds_motion:
            moved = root.transposed(gram.image(ahead.T).T[chosen])
            some_right = some_right - rate * root(moved)
        solved, _ = among.solve(rate, 0.0, root, some_right, ahead)
        found = right.at[chosen].set(solved)
        moved = gram.motion(found.T).T
        return found, moved + ahead

    rest = jnp.cumsum(ordered[::-1])[::-1][np.asarray(sizes)]
    ways = [*(partial(block, size) for size in sizes), whole]
    return jax.lax.switch(
        jnp.sum(~(rest < LOOSE)), [partial(use, solve) for solve in ways]
    )


def _sizes(rank: int) -> list[int]:
    """Of how many weights the smaller systems are."""
    sizes = []
    while WORTH * (size := BLOCK << len(sizes)) <= rank:
        sizes.append(size)
    return sizes


def _symmetric(shares: Float[Array, "samples per_sample"], q: Float[Array, " m"]):
    """Shares that are symmetric also where q is a guess, not in proportion to them."""
    totals = jnp.sum(shares, axis=1, keepdims=True)
    parts = q.reshape(shares.shape)
    return jnp.ravel(totals * parts / jnp.sum(parts, axis=1, keepdims=True))


class _Root:
    r"""The root $F$ of $F F^\top = \mathrm{diag}(q) S$.

    Where $S$ is $\delta_{kj} - p_j$ within a sample, $q_k \propto p_k$ at the solution,
    and $F = \mathrm{diag}(\sqrt q)(1 - \alpha v v^\top)$ with $v = \sqrt p$ and
    $\alpha = (1 - \sqrt{1 - |v|^2}) / |v|^2$.
    """

    def __init__(self, square, shares, add_up):
        self.root = jnp.sqrt(square)
        self.shares = shares
        self.add_up = add_up  # from columns to their sums over each sample
        if shares is not None:
            self.unit = jnp.sqrt(shares)[:, None]
            total = jnp.clip(add_up(shares[:, None]), 1e-290, 1.0)
            rest = jnp.sqrt(jnp.maximum(1 - total, 1e-30))
            self.down, self.up = (rest - 1) / total, (1 / rest - 1) / total

    def _mix(self, columns, factor):
        """Add `factor` times the part along `unit` of each sample, for each column."""
        return columns + factor * self.unit * self.add_up(self.unit * columns)

    def __call__(self, columns):
        if self.shares is not None:
            columns = self._mix(columns, self.down)
        return self.root[:, None] * columns

    def inverse(self, columns):
        columns = columns / self.root[:, None]
        return columns if self.shares is None else self._mix(columns, self.up)

    def transposed(self, columns):
        """$F^T$ times columns."""
        columns = self.root[:, None] * columns
        return columns if self.shares is None else self._mix(columns, self.down)

    def both_sides(self, matrix):
        """$F^T M F$ for a symmetric matrix $M$."""
        matrix = self.root[:, None] * matrix * self.root[None]
        if self.shares is None:
            return matrix
        return self._mix(self._mix(matrix, self.down).T, self.down)
