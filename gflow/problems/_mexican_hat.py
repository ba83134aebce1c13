import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._flow import GradientFlow
from .._losses import AbstractMarginLoss
from ..nn import AbstractHomogeneous
from ._problem import LOGISTIC, Problem, require_scale


FLATTEST = 700.0
"""Where 1 / c is above this, exp(-1 / c) is zero in 64 bits."""


class MexicanHat(AbstractHomogeneous):
    r"""A hat whose brim has a valley that winds around it for ever.

    With $w = (w_1, w_2, v)$, $r = |w|$, $c = v^2 / r^2$, $s^2 = 1 - c$, and $\varphi$
    the polar angle of $(w_1, w_2)$,

    $$f(x; w) = x\, r^L (1 - F), \qquad
      F = e^{-1/c} \Big(1 - \frac{4 s^4}{4 s^4 + c^3} \sin \psi\Big), \qquad
      \psi = \varphi - \frac1c.$$

    $F$ and all its derivatives vanish on the circle $c = 0$. It is smooth but at the
    poles $s = 0$, where it is three times differentiable in exact arithmetic and where
    its derivative here is NaN. It is not definable in an o-minimal structure: the
    valley $\psi = \pi / 2$ crosses each meridian infinitely often.

    Args:
        weights: $(w_1, w_2, v)$.
        power: The degree $L$ of homogeneity.

    Attributes:
        weights: As given.
        power: As given.

    Example:
        `MexicanHat(jnp.array([0.8, 0.0, 0.6]))(jnp.ones(1))`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890, for the counterexample. Absil, Mahony and Andrews
        (2005), "Convergence of the iterates of descent methods for analytic cost
        functions", for the hat.
    """

    weights: Float[Array, " 3"]
    power: float = eqx.field(static=True, default=2.0)

    @property
    def degree(self):
        return self.power

    def units(self):
        return ((None,),)

    def __call__(self, x, *, key=None):
        del key
        if jnp.shape(x) != (1,):
            raise ValueError(
                f"`x` must be one input of shape (1,), but has shape {jnp.shape(x)}. "
                "For many inputs, use `jax.vmap(network)(x)`."
            )
        # In units of the largest weight, so that squares do not underflow.
        unit = jax.lax.stop_gradient(jnp.max(jnp.abs(self.weights)))
        one, two, height = self.weights / unit
        square = one**2 + two**2 + height**2
        below = height**2 / square
        # By an equality: it guards, and is no kink.
        brim = jnp.floor(jax.lax.stop_gradient(below) * FLATTEST) == 0
        c = jnp.where(brim, 0.5, below)
        depth = (1 - c) ** 2
        psi = jnp.arctan2(two, one) - 1 / c
        # c^3 + 4 s^4 (1 - sin psi) over 4 s^4 + c^3: in the valley nothing cancels.
        numerator = c**3 + 8 * depth * jnp.sin(psi / 2 - math.pi / 4) ** 2
        hat = jnp.exp(-1 / c) * numerator / (4 * depth + c**3)
        hat = jnp.where(brim, 0.0, hat)
        size = unit**self.power * square ** (self.power / 2)
        return x[0] * size * (1 - hat)


def mexican_hat(
    loss: AbstractMarginLoss = LOGISTIC,
    scale: float = 1.0,
    *,
    power: float = 2.0,
    sine: float = 0.8,
    psi: float = 0.1,
) -> Problem:
    r"""A flow whose direction never converges, though its margin does.

    One weight vector of length 3, in `MexicanHat`, on the points 1 and -1 of two
    classes: both margins are $r^L (1 - F)$. The flow falls into the valley
    $\psi = \pi/2$ and follows it around the circle $c = 0$ for ever, as slowly as

    $$4 L U^3 e^U \approx \log r, \qquad U = 1/c, \qquad \varphi = U + \pi / 2:$$

    about one radian while $\log r$ grows by a factor $e$. Each point of the circle is
    a limit point. To $\log r = 10^{12}$, 2.6 turns, a solve takes some 5,000 steps, and
    for each further power of ten five times as many. In 64 bits the end is near
    $10^{16}$: there the velocity is no more than the rounding of the gradient.

    Args:
        loss: The loss of one margin.
        scale: Multiplies every initial weight; any positive number.
        power: The degree $L$ of homogeneity.
        sine: $s$ at the start, between 0 and 1, without them.
        psi: $\psi$ at the start. At 0 the flow moves along $\psi = 0$, but falls off by
            rounding, to one side or the other.

    Returns:
        The flow and the network it starts from.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        `flow, network = gflow.problems.mexican_hat()`

    References:
        Lyu and Li (2020), "Gradient Descent Maximizes the Margin of Homogeneous Neural
        Networks", arXiv:1906.05890.
    """
    require_scale(scale)
    if not 0 < sine < 1:
        raise ValueError(
            f"`sine` must lie between 0 and 1, but is {sine}. They are the pole and "
            "the brim, where the flow stands still."
        )
    if not 0 < power < math.inf:
        raise ValueError(f"`power` must be positive and finite, but is {power}.")
    if not math.isfinite(psi):
        raise ValueError(f"`psi` must be finite, but is {psi}.")
    c = (1 - sine) * (1 + sine)
    phi = psi + 1 / c
    weights = [sine * math.cos(phi), sine * math.sin(phi), math.sqrt(c)]
    x = np.array([[1.0], [-1.0]])
    return Problem(
        GradientFlow(loss, x, x[:, 0]),
        MexicanHat(jnp.asarray(scale * np.array(weights)), float(power)),
    )
