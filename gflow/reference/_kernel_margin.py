import dataclasses

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float64

from .._checks import checked_array
from ._hard_margin import hard_margin


BLUR = 1e-2  # of the norms at first, in units of the largest gradient
SHARPER = 0.2
NEWTON = 50  # steps at one blur
SHORTEST = 1e-10  # of a Newton step, shortened until the blurred mean falls
SEPARATED = 1e-12  # a smaller margin, in the same units, is rounding


@dataclasses.dataclass(frozen=True)
class KernelMargin:
    r"""The largest margin of the network linearized at some weights.

    Attributes:
        margin: The margin.
        weights: $q$ of the simplex, for which the pull of the gradients is smallest.
        direction: The change of the weights, of norm one (of every neuron, for
            `neuron_kernel_margin`), that reaches the margin.
        bound: No direction has a larger margin than this. Equal to `margin` but for
            rounding, or the tolerance.
    """

    margin: float
    weights: Float64[np.ndarray, " samples"]
    direction: Float64[np.ndarray, "*weights"]
    bound: float

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def kernel_margin(gradients: ArrayLike) -> KernelMargin:
    r"""The margin of the neural tangent kernel at given weights.

    $$\gamma = \max_{|u| \leq 1} \min_i \langle u, \nabla z_i \rangle
      = \min_{q \in \Delta} \Big| \sum_i q_i \nabla z_i \Big|$$

    Args:
        gradients: $\nabla z_i$, one a row, shape (samples, weights).

    Returns:
        The margin, right to about 1e-15, and both solutions.

    Raises:
        ValueError: If the shape is wrong, or no direction raises all margins at once.

    Example:
        `kernel_margin([[1.0, 0.0], [0.0, 1.0]]).margin` is $1/\sqrt 2$.

    References:
        Telgarsky (2022), "Feature selection with gradient descent on two-layer networks
        in low-rotation regimes", arXiv:2208.02789. Lyu and Li (2020), arXiv:1906.05890,
        corollary 4.5: at the limit of the flow it is the margin of the flow.
    """
    rows = checked_array(gradients, "gradients")
    if rows.ndim != 2 or rows.size == 0:
        raise ValueError(
            "`gradients` must have shape (samples, weights), at least one of each, but "
            f"has shape {rows.shape}. Flatten each sample's gradient."
        )
    found = hard_margin(rows, np.ones(len(rows)))
    weights = found.multipliers / np.sum(found.multipliers)
    bound = float(np.linalg.norm(weights @ rows))
    return KernelMargin(found.margin, weights, found.direction, bound)


def neuron_kernel_margin(
    gradients: ArrayLike, *, tolerance: float = 1e-8, max_steps: int = 30
) -> KernelMargin:
    r"""The same with every neuron's change bounded alone, as for infinite width.

    $$\gamma = \max_{|u_j| \leq 1} \min_i \frac1m \sum_j \langle u_j, \nabla_j z_i
      \rangle = \min_{q \in \Delta} \frac1m \sum_j \Big| \sum_i q_i \nabla_j z_i \Big|$$

    with $m$ neurons. For neurons drawn at random it estimates Telgarsky's
    $\gamma_{\mathrm{ntk}}$. Norms are blurred and signs kept by a barrier, both ever
    less, with Newton's method on $q$, until the bounds from both sides meet.

    Args:
        gradients: $\nabla_j z_i$, shape (samples, neurons, weights of one neuron).
        tolerance: How far apart the bounds may stay, relative; rounding leaves 1e-9.
        max_steps: How often the blur is divided by five.

    Returns:
        The margin; `direction` has shape (neurons, weights of one neuron).

    Raises:
        ValueError: If the shape is wrong, no direction raises all margins at once, or
            `max_steps` are not enough.

    Example:
        `neuron_kernel_margin(np.eye(4).reshape(4, 2, 2)).margin` is $1 / \sqrt 8$.

    References:
        Telgarsky (2022), arXiv:2208.02789.
    """
    blocks = checked_array(gradients, "gradients")
    if blocks.ndim != 3 or blocks.size == 0:
        raise ValueError(
            "`gradients` must have shape (samples, neurons, weights of one neuron), at "
            f"least one of each, but has shape {blocks.shape}."
        )
    samples, neurons = blocks.shape[:2]
    most = max(float(np.max(np.abs(blocks))), 1e-300)  # its square may underflow
    blocks = blocks / most
    unit = float(np.max(np.linalg.norm(blocks, axis=2)))
    blocks, unit = blocks / max(unit, 1e-300), most * unit
    weights, blur = np.full(samples, 1 / samples), BLUR
    margin, bound = -np.inf, np.inf
    for _ in range(max_steps):
        weights = centered(blocks, weights, blur)
        pull = np.tensordot(weights, blocks, axes=1)
        norms = np.linalg.norm(pull, axis=1)
        direction = pull / np.hypot(norms, blur)[:, None]
        margin = float(np.min(np.tensordot(blocks, direction, axes=2))) / neurons
        bound = float(np.mean(norms))
        if bound - margin <= tolerance * bound:
            return KernelMargin(unit * margin, weights, direction, unit * bound)
        if bound < SEPARATED:
            break
        blur *= SHARPER
    raise ValueError(
        "`gradients` must have a direction along which all grow, but the margin lies "
        f"between {unit * margin:.3g} and {unit * bound:.3g}. Raise `tolerance`, or "
        "take more neurons."
    )


def centered(blocks, weights, blur):
    """The weights that minimize the blurred mean of norms and a barrier, by Newton.

    A norm becomes sqrt(|.|^2 + blur^2); the barrier is -blur / samples log q_i.
    """
    samples, neurons = blocks.shape[:2]
    barrier = blur / samples
    for _ in range(NEWTON):
        pull = np.tensordot(weights, blocks, axes=1)
        sizes = np.hypot(np.linalg.norm(pull, axis=1), blur)
        unit = pull / sizes[:, None]
        slopes = np.einsum("ijk,jk->ij", blocks, unit)
        gradient = np.mean(slopes, axis=1) - barrier / weights
        scaled = blocks / np.sqrt(neurons * sizes)[None, :, None]
        flat = scaled.reshape(samples, -1)
        across = slopes / np.sqrt(neurons * sizes)
        hessian = flat @ flat.T - across @ across.T + np.diag(barrier / weights**2)
        ones = np.ones((samples, 1))
        matrix = np.block([[hessian, ones], [ones.T, np.zeros((1, 1))]])
        step = np.linalg.solve(matrix, np.append(-gradient, 0.0))[:-1]
        slowed = float(-gradient @ step)
        room = np.max(-step / weights)
        length = min(1.0, 0.9 / max(room, 1e-300))
        here = blurred(blocks, weights, blur) - 1e-14 * slowed
        while blurred(blocks, weights + length * step, blur) > here:
            length /= 2
            if length < SHORTEST:
                return weights
        weights = weights + length * step
        if slowed <= 1e-6 * barrier:
            break
    return weights / np.sum(weights)


def blurred(blocks, weights, blur):
    """What `centered` minimizes."""
    sizes = np.linalg.norm(np.tensordot(weights, blocks, axes=1), axis=1)
    barrier = blur / len(weights) * np.sum(np.log(weights))
    return float(np.mean(np.hypot(sizes, blur)) - barrier)
