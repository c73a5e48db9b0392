"""The parameters of constructors, including those that a class only passes on to its bases."""

import contextlib
import functools
import inspect
from typing import Any, get_type_hints


@functools.cache
def parameters(owner: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class's constructor and of its bases' constructors, or of a function, by name.

    Annotations that are strings are replaced by their types, or by Any where these cannot be found.
    """
    makers = [vars(base).get("__init__") for base in owner.__mro__] if inspect.isclass(owner) else [owner]
    found: dict[str, inspect.Parameter] = {}
    for maker in filter(callable, makers):
        with contextlib.suppress(ValueError):  # built-in functions have no signature
            for name, parameter in inspect.signature(maker).parameters.items():
                if name == "self" or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                    continue
                if isinstance(parameter.annotation, str):
                    parameter = parameter.replace(annotation=_hints(maker).get(name, Any))
                found.setdefault(name, parameter)
    return found


@functools.cache
def _hints(maker: Any) -> dict[str, Any]:
    """Return the types of the annotations of a function; none where a name in them is not defined."""
    with contextlib.suppress(NameError, TypeError):
        return get_type_hints(maker)
    return {}
