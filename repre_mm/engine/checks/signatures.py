"""Which arguments a class or function takes, looked through ``**kwargs`` up to the classes that they end in."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import nn

_EMPTY = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Arguments:
    """What can be given by name.

    Attributes:
        defaults: name -> default, ``inspect.Parameter.empty`` where there is none.
        is_open: names beyond these are taken too, and go where cannot be told.
    """

    defaults: dict[str, Any]
    is_open: bool

    @property
    def required(self) -> set[str]:
        """Those without a default."""
        return {name for name, default in self.defaults.items() if default is _EMPTY}


@cache
def arguments_of(target: Callable) -> Arguments:
    """The arguments of a class's constructor or of a function.

    ``**kwargs`` that a constructor hands on to its parent's are followed there. Where they go elsewhere, any name may
    be right.
    """
    if not inspect.isclass(target):
        return _own(target)[0]
    defaults: dict[str, Any] = {}
    for owner in target.__mro__:
        if owner in (object, nn.Module):
            break
        if '__init__' not in owner.__dict__:
            continue
        own, handed_on = _own(owner.__init__)
        for name, default in own.defaults.items():
            defaults.setdefault(name, default)
        if not handed_on:
            return Arguments(defaults, own.is_open)
    return Arguments(defaults, False)


def _own(function: Callable) -> tuple[Arguments, bool]:
    """The arguments that a function names, and whether the others go to the parent's constructor."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return Arguments({}, True), False
    if parameters and parameters[0].name == 'self':
        parameters = parameters[1:]
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.kind in _NAMED}
    rest = next((parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD), None)
    if rest is None:
        return Arguments(defaults, False), False
    taken = _uses(function, rest)
    if taken is None:
        return Arguments(defaults, True), False
    return Arguments({**dict.fromkeys(taken, None), **defaults}, False), True


def _uses(function: Callable, name: str) -> set[str] | None:
    """The keys that a function takes out of its ``**name`` before it goes to the parent; None if it goes elsewhere."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return None
    handed_on, keys, understood = False, set(), 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            for keyword in node.keywords:
                if keyword.arg is None and _is(keyword.value, name) and node.func.attr == '__init__':
                    handed_on, understood = True, understood + 1
            if _is(node.func.value, name) and node.func.attr in ('pop', 'get', 'setdefault') and _constant(node.args):
                keys.add(node.args[0].value)
                understood += 1
        elif isinstance(node, ast.Subscript) and _is(node.value, name) and _constant([node.slice]):
            keys.add(node.slice.value)
            understood += 1
        elif isinstance(node, ast.Compare) and any(_is(right, name) for right in node.comparators):
            understood += 1
    uses = sum(_is(node, name) for node in ast.walk(tree))
    return keys if handed_on and uses == understood else None


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _constant(nodes: list[ast.expr]) -> bool:
    return bool(nodes) and isinstance(nodes[0], ast.Constant) and isinstance(nodes[0].value, str)
