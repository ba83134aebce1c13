import jax
from jaxtyping import Array, Float


def solve_positive(
    matrix: Float[Array, "n n"], right: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """The solution of a positive definite system; NaN if it is not one."""
    lower = jax.lax.linalg.cholesky(matrix, symmetrize_input=False)
    half = jax.lax.linalg.triangular_solve(lower, right, left_side=True, lower=True)
    return jax.lax.linalg.triangular_solve(
        lower, half, left_side=True, lower=True, transpose_a=True
    )
