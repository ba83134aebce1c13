"""Optimizers of Optax as descent methods, such as Adam; Optax is an optional extra."""

import equinox as eqx
import gflow
import jax
import jax.numpy as jnp
import optax


class Optimizer(gflow.descent.AbstractDescentMethod):
    r"""An optimizer of Optax on the loss, or on its logarithm.

    Its steps have no common length: `log_t` is that of gradient descent with step 1.

    Args:
        transform: Such as `optax.adam(1e-3)`.
        of_log: Descend $\log \mathcal L$, whose gradient never underflows.
    """

    transform: optax.GradientTransformation
    of_log: bool = False

    def init(self, network):
        return self.transform.init(eqx.filter(network, eqx.is_inexact_array))

    def step(self, here, evaluate):
        factor = 1.0 if self.of_log else jnp.exp(here.log_loss)
        gradient = jax.tree.map(lambda leaf: factor * leaf, here.slope)
        weights = eqx.filter(here.network, eqx.is_inexact_array)
        update, state = self.transform.update(gradient, here.state, weights)
        network = eqx.apply_updates(here.network, update)
        log_loss, slope = evaluate(network)
        log_t = jnp.logaddexp(here.log_t, jnp.zeros(()))
        return gflow.descent.Place(
            network, log_loss, slope, log_t, here.steps + 1, state
        )
