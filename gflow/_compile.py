"""How the loop over steps is compiled: quickly."""

import functools
import os
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}
"""XLA's older emitter of small CPU kernels, which other devices ignore, and a quicker
optimization of what it emits: measured on the loop, a third and a tenth less time to
compile, and the same to run. What `XLA_FLAGS` says wins."""


@functools.cache
def compiled(function: Callable) -> Callable:
    """`equinox.filter_jit` with `OPTIONS`, as far as this version of XLA knows them."""
    options = _known_options()
    # Equinox's overloads leave out what it hands to `jax.jit`.
    return eqx.filter_jit(function, compiler_options=options)  # pyright: ignore[reportCallIssue]


@functools.cache
def _known_options() -> dict[str, bool | int] | None:
    """The options; none if XLA does not know them, or computes something else."""
    flags = os.environ.get("XLA_FLAGS", "")
    options = {name: value for name, value in OPTIONS.items() if name not in flags}
    columns = np.arange(6.0).reshape(2, 3)
    blocks = np.arange(12.0).reshape(2, 2, 3)
    right = np.swapaxes(blocks @ columns.T, 1, 2).ravel()

    def is_right(options):
        program = jax.jit(_turned, compiler_options=options)
        found = program.lower(columns, blocks).compile()(columns, blocks)
        return np.allclose(found, right, rtol=1e-6)

    try:
        if is_right(options):
            return options
    except jax.errors.JaxRuntimeError:
        return None
    if not is_right(None):
        raise RuntimeError(
            f"`XLA_FLAGS` is {flags!r}, with which XLA computes something wrong on "
            "this machine. Leave out what it sets."
        )
    return None


def _turned(
    columns: Float[Array, "2 3"], blocks: Float[Array, "2 2 3"]
) -> Float[Array, " 8"]:
    """What the older emitter gets wrong where XLA's fusion of kernels is off."""
    return jnp.ravel(jnp.transpose(blocks @ columns.T, (0, 2, 1)))
