"""Labels at the door: which kind they are, and whether the loss is for them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from ._checks import require_signs
from ._losses import AbstractLoss, Square


MOST_CLASSES = 10_000


def checked_labels(
    loss: AbstractLoss, y: Float[np.ndarray, "samples *outputs"]
) -> tuple[str, Num[np.ndarray, "samples *outputs"], int]:
    """The kind of labels, the labels, and the number of classes (0 for targets).

    Raises:
        ValueError: If the loss is not for such labels, or one of several classes is
            missing. (Signs may all be the same.)
    """
    name, kinds = type(loss).__name__, loss.labels
    if "targets" in kinds:
        if type(loss) is not Square:
            raise ValueError(
                "`loss` must be `gflow.Square()` where `y` holds numbers to be "
                f"fitted, but is a `{name}`: what pulls is taken for the errors. "
                "Use the square, or a loss of margins and labels."
            )
        return "targets", y, 0
    signs = bool(np.all(np.abs(y) == 1))
    if "classes" not in kinds or ("signs" in kinds and (signs or np.any(y < 0))):
        if "classes" not in kinds and np.any(y > 1) and _are_counts(y):
            raise ValueError(
                f"`y` must hold -1 and +1 only for the loss `{name}`, but holds "
                f"{_some(y)}. For more than two classes, use `gflow.CrossEntropy()`."
            )
        require_signs(y)
        return "signs", y, 2
    if signs and np.any(y < 0):
        raise ValueError(
            f"`y` must hold integers 0, 1, ... for the loss `{name}`, but holds -1 and "
            "+1. Use `gflow.Logistic()`, or two logits and `(y + 1) / 2`."
        )
    if not _are_counts(y):
        raise ValueError(
            f"`y` must hold integers 0, 1, ... for the loss `{name}`, but holds "
            f"{_some(y)}. For numbers to be fitted, use `gflow.Square()`."
        )
    classes = int(np.max(y)) + 1
    if "signs" in kinds and classes <= 2:
        raise ValueError(
            f"`y` must hold -1 and +1, or three classes and more, for the loss "
            f"`{name}`, but holds {_some(y)}. For one output, pass `2 * y - 1`."
        )
    if classes < 2:
        raise ValueError(
            f"`y` must hold two classes at least for the loss `{name}`, but holds 0 "
            "alone. For one class and a scalar output, pass +1 and `gflow.Logistic()`."
        )
    missing = np.setdiff1d(np.arange(classes), y)
    if missing.size or classes > MOST_CLASSES:
        raise ValueError(
            "`y` must hold each class from 0 to the largest at least once, but of 0 "
            f"to {classes - 1} it lacks {_some(missing)}. Number the classes anew: "
            "`numpy.unique(y, return_inverse=True)[1]`."
        )
    return "classes", y.astype(jnp.int_), classes


def _are_counts(y: np.ndarray) -> bool:
    return bool(np.all((y >= 0) & (y == np.round(y))))


def _some(values: np.ndarray) -> str:
    distinct = np.unique(values)
    dots = ", ..." if distinct.size > 4 else ""
    return f"[{', '.join(f'{value:g}' for value in distinct[:4])}{dots}]"
