import os


# Before NumPy loads: several BLAS threads make small factorizations far slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
# Most of the suite's time is compilation, and this halves it. To test programs as users
# run them, set XLA_FLAGS to nothing.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax


jax.config.update("jax_enable_x64", True)
# Diffrax, Optimistix and Lineax broadcast explicitly too, so this holds everywhere.
jax.config.update("jax_numpy_rank_promotion", "raise")

import hypothesis


hypothesis.settings.register_profile(
    "gflow",
    deadline=None,  # the first example compiles
    max_examples=15,
    print_blob=True,
    derandomize="CI" in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("gflow")


def pytest_configure(config):
    """Keep compiled programs between runs; `pytest --cache-clear` forgets them.

    Most of the suite's time is compilation. Keys hold the program and the version of
    JAX, so a stale entry is never read, only kept.
    """
    if (cache := getattr(config, "cache", None)) is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        # JAX does not write entries atomically: a worker may meet one half-written by
        # another, and then says so and compiles.
        config.addinivalue_line(
            "filterwarnings", "ignore:Error (reading|writing) persistent compilation"
        )
