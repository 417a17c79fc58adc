"""Values in a form that cannot be written to, for whoever is handed what others are handed as well."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MappingProxyType
from typing import Any


def read_only(value: Any, name: str = "", seen: Callable[[str, Any], None] = lambda name, value: None) -> Any:
    """Arrays, dicts and lists, however nested, in a form that cannot be written to; anything else as it is.

    Args:
        value: lists become tuples, dicts mapping proxies, arrays views.
        name: of the value.
        seen: told of everything else in it, by name: ``embeddings.image``.
    """
    if isinstance(value, dict | MappingProxyType):
        return MappingProxyType({key: read_only(one, f"{name}.{key}", seen) for key, one in value.items()})
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        named = zip(value._fields, value, strict=True)
        return type(value)(*(read_only(one, f"{name}.{key}", seen) for key, one in named))
    if isinstance(value, list | tuple):
        return tuple(read_only(one, name, seen) for one in value)
    if (numpy := sys.modules.get("numpy")) is not None and isinstance(value, numpy.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    seen(name, value)
    return value
