"""Reading jaxprs: what functions and primitives a network is made of."""

from collections.abc import Iterator

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def inner_jaxprs(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The jaxprs that an equation calls: of a jitted function, a loop, a branch."""
    for parameter in equation.params.values():
        several = isinstance(parameter, tuple | list)
        for part in parameter if several else (parameter,):
            if isinstance(part, ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, Jaxpr):
                yield part


def function_name(equation: JaxprEqn) -> str:
    """The name of the function that an equation calls; empty if it has none."""
    if "name" in equation.params:
        return str(equation.params["name"])
    for jaxpr in inner_jaxprs(equation):
        # "relu at /a/file.py:1" in some versions of JAX.
        return jaxpr.debug_info.func_name.split(" ")[0]
    return ""


def calls(jaxpr: Jaxpr, name: str) -> bool:
    """Whether a function of this name is called at any depth."""
    return any(
        function_name(equation) == name
        or any(calls(inner, name) for inner in inner_jaxprs(equation))
        for equation in jaxpr.eqns
    )
