import abc

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray


class AbstractHomogeneous(eqx.Module):
    r"""A network with $f(x; c\,w) = c^L f(x; w)$ for $c > 0$, of known degree $L$.

    The weights $w$ are its inexact arrays, all of them. gflow takes any `eqx.Module`
    and finds $L$ by `gflow.degree`; this class is for networks that know it.
    """

    @property
    @abc.abstractmethod
    def degree(self) -> float:
        """The degree $L$ of homogeneity in the weights."""

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "*features"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "*classes"]:
        """The output at one input: a scalar, or one logit a class.

        Args:
            x: One input; for many, `jax.vmap(network)(x)`.
            key: Ignored; `eqx.nn.Sequential` passes one to each of its layers.
        """
