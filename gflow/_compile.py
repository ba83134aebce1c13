"""How the loop over steps is compiled: quickly."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax


OPTIONS = {"xla_cpu_use_fusion_emitters": False}
"""XLA's older emitter of small CPU kernels: measured on the loop, a third less time to
compile, and the same to run. Other devices ignore it."""


@functools.cache
def compiled(function: Callable) -> Callable:
    """`equinox.filter_jit` with `OPTIONS`, as far as this version of XLA knows them."""
    return eqx.filter_jit(function, compiler_options=_known_options())


@functools.cache
def _known_options() -> dict[str, bool] | None:
    try:
        jax.jit(lambda: 0, compiler_options=OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return OPTIONS
