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
    def units(self) -> tuple[tuple[str | None, ...], ...]:
        """The units of weights that are small or large together, such as neurons.

        Any network may have this method, and should where its arrays do not tell.

        Returns:
            For each array of weights, in the order of `jax.tree.leaves`, one entry for
            each axis: the name of the layer of units that runs along it, or `None` for
            inputs, outputs and what else has no size of its own. A weight belongs to
            the smaller of the units that it joins, and errors are relative to that.
            Weights of two arrays are a unit only where the degree is two and each is
            seen to drive the other; else each array has units of its own, since one
            may grow beside others that are large.

        Example:
            `return (("hidden", None), ("hidden",))` for two layers with arrays of
            shapes (width, in) and (width,).
        """

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, "*features"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "*classes"]:
        """The output at one input: a scalar, or one logit a class.

        Args:
            x: One input; for many, `jax.vmap(network)(x)`.
            key: Ignored; `eqx.nn.Sequential` passes one to each of its layers.
        """
