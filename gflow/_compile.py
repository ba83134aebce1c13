"""How the loop over steps is compiled: quickly."""

import functools
import os
from collections.abc import Callable

import equinox as eqx
import jax


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
    flags = os.environ.get("XLA_FLAGS", "")
    options = {name: value for name, value in OPTIONS.items() if name not in flags}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return options
