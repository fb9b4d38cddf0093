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
    given = _Given()
    for owner in target.__mro__:
        if owner in (object, nn.Module):
            break
        if '__init__' not in owner.__dict__:
            continue
        own, handed_on = _own(owner.__init__)
        for place, (name, default) in enumerate(own.defaults.items()):
            # What the child passes on itself need not be in the config.
            defaults.setdefault(name, None if place < given.positions or name in given.names else default)
        if handed_on is None:
            return Arguments(defaults, own.is_open)
        given = handed_on
    return Arguments(defaults, False)


@dataclass(frozen=True)
class _Given:
    """What a constructor passes to its parent's besides ``**kwargs``: names, and how many by position."""

    names: frozenset[str] = frozenset()
    positions: int = 0


def _own(function: Callable) -> tuple[Arguments, _Given | None]:
    """The arguments that a function names; and, if the others go to the parent's constructor, what goes with them."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return Arguments({}, True), None
    if parameters and parameters[0].name == 'self':
        parameters = parameters[1:]
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.kind in _NAMED}
    rest = next((parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD), None)
    if rest is None:
        return Arguments(defaults, False), None
    uses = _uses(function, rest)
    if uses is None:
        return Arguments(defaults, True), None
    taken, given = uses
    return Arguments({**defaults, **{name: None for name in taken if name not in defaults}}, False), given


def _uses(function: Callable, name: str) -> tuple[set[str], _Given] | None:
    """The keys that a function takes out of its ``**name``, and what goes to the parent with it; None if none does."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError):
        return None
    given: _Given | None = None
    keys: set[str] = set()
    understood = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            for keyword in node.keywords:
                if keyword.arg is None and _is(keyword.value, name) and node.func.attr == '__init__':
                    named = frozenset(other.arg for other in node.keywords if other.arg)
                    given, understood = (
                        _Given(named, sum(not isinstance(arg, ast.Starred) for arg in node.args)),
                        understood + 1,
                    )
            if _is(node.func.value, name) and node.func.attr in ('pop', 'get', 'setdefault') and _constant(node.args):
                keys.add(node.args[0].value)
                understood += 1
        elif isinstance(node, ast.Subscript) and _is(node.value, name) and _constant([node.slice]):
            keys.add(node.slice.value)
            understood += 1
        elif isinstance(node, ast.Compare) and any(_is(right, name) for right in node.comparators):
            understood += 1
    uses = sum(_is(node, name) for node in ast.walk(tree))
    return (keys, given) if given and uses == understood else None


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _constant(nodes: list[ast.expr]) -> bool:
    return bool(nodes) and isinstance(nodes[0], ast.Constant) and isinstance(nodes[0].value, str)
