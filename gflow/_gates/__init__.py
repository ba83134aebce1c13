"""Any JAX function as a smooth function of its weights at frozen gates."""

from .kinks import (
    Kinks as Kinks,
    find_kinks as find_kinks,
    find_kinks_of as find_kinks_of,
    frozen as frozen,
    record as record,
)
