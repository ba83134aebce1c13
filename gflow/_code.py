"""What a function does, as a fingerprint: two of one name may differ."""

import functools
import hashlib
import inspect
import platform
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
"""Captured values of these types are part of what a function does; of others it is not
known whether they are the same."""


def fingerprint(function: Callable[..., Any]) -> str:
    """The version of Python, and a digest of what it compiles a function to.

    With the numbers, strings and functions that it has captured, takes by default, or
    holds as an object; comments, docstrings and places in a file do not count.
    """
    version = ".".join(platform.python_version_tuple()[:2])
    digest = hashlib.sha256("\n".join(_parts(function, set())).encode())
    return f"{version} {digest.hexdigest()[:32]}"


def _parts(function: Any, seen: set[int]) -> Iterator[str]:
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, functools.partial):
        yield from _values((*function.args, *sorted(function.keywords.items())), seen)
        yield from _parts(function.func, seen)
    elif isinstance(function, types.FunctionType):
        yield from _of_code(function.__code__)
        cells = function.__closure__ or ()
        yield from _values([_content(cell) for cell in cells], seen)
        yield from _values(function.__defaults__ or (), seen)
        yield from _values((function.__kwdefaults__ or {}).items(), seen)
    elif isinstance(function, types.MethodType):
        yield from _parts(function.__self__, seen)
        yield from _parts(function.__func__, seen)
    else:  # an object that is called, or what is compiled
        yield type(function).__qualname__
        yield getattr(function, "__qualname__", "")
        call = inspect.getattr_static(type(function), "__call__", None)
        if isinstance(call, types.FunctionType):
            yield from _of_code(call.__code__)
        yield from _values(sorted(getattr(function, "__dict__", {}).items()), seen)
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is not None:
        yield from _parts(wrapped, seen)


def _of_code(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield from map(repr, (code.co_names, code.co_varnames))
    for place, constant in enumerate(code.co_consts):
        if isinstance(constant, types.CodeType):
            yield from _of_code(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        elif place > 0 or not isinstance(constant, str):  # the first may be a docstring
            yield repr(constant)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None


def _values(values: Iterable[Any], seen: set[int]) -> Iterator[str]:
    for value in values:
        if isinstance(value, tuple):
            yield from _values(value, seen)
        elif isinstance(value, PLAIN):
            yield repr(value)
        elif isinstance(
            value, types.FunctionType | types.MethodType | functools.partial
        ):
            yield from _parts(value, seen)
        else:
            yield type(value).__qualname__
