"""Explain an exception of a constructor or a layer: which class refused what, and what to write instead."""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from collections.abc import Callable
from typing import Any

from mmengine.registry import Registry
from torch import nn

from repre_mm.utils.errors import plain_message


def explain(error: Exception) -> str:
    """Return ``CLASS: what it says`` in one line, for an error that came while mmengine built CLASS."""
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__) if f.f_code.co_name == 'build_from_cfg']
    built = frames[-1].f_locals if frames else {}
    target, given = built.get('obj_cls'), built.get('args', {})
    if 'obj_cls' in built and target is None:
        return not_registered(built['obj_type'], built['registry'])
    if target is None:
        return first_line(error)
    if isinstance(error, TypeError):
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown and unknown[1] in given:
            return f'{target.__name__} takes no argument {unknown[1]!r}{_nearest(unknown[1], target)}'
        missing = re.search(r'missing \d+ required .*argument.*?: (.+)', str(error))
        if missing:
            return f'{target.__name__} needs {missing[1]}'
    return f'{target.__name__}: {first_line(error)}'


def first_line(error: Exception) -> str:
    """Return the first line of an error's message; where it has none, what was asserted, or the name of its class."""
    lines = plain_message(error).strip().splitlines()
    if lines:
        return lines[0]
    place = traceback.extract_tb(error.__traceback__)[-1:]
    asserted = place[0].line if place and isinstance(error, AssertionError) else None
    return f'its arguments break `{asserted}`' if asserted else type(error).__name__


def failing_layer(error: Exception, module: nn.Module, name: str) -> str:
    """Return ``NAME.LAYER fails (what it says)``, for an error of a module's forward."""
    names = {id(child): child_name for child_name, child in module.named_modules()}
    found = ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = names.get(id(frame.f_locals.get('self')), found) or found
    return f'{name}{"." + found if found else ""} fails ({first_line(error)})'


def find_type(name: str, registry: Registry) -> Callable | str:
    """Return the class or function of a type in the current scope, or what is wrong with its name."""
    with registry.switch_scope_and_registry(None) as own:
        return own.get(name) or not_registered(name, own)


def not_registered(name: str, registry: Registry) -> str:
    """Return that a registry has no such type, with the nearest names of it and of those beside and above it."""
    root = registry.parent or registry
    spelled: dict[str, str] = {}  # bare name -> as a config writes it
    for table in (registry, root, *root.children.values()):
        table.import_from_location()
        prefix = '' if table in (registry, root) else f'{table.scope}.'
        for found in table.module_dict:
            spelled.setdefault(found, prefix + found)
    bare = name.rpartition('.')[2]
    near = [bare] if bare in spelled else difflib.get_close_matches(bare, spelled, n=3)
    hint = f'; did you mean {" or ".join(map(spelled.get, near))}?' if near else ': import yours in custom_imports'
    return f'{name!r} is not a registered {registry.name.replace("_", " ")}{hint}'


def accepted_arguments(target: Any) -> set[str]:
    """Return the names that a class or function takes, those that it hands on to its bases too; none for any name."""
    known: set[str] = set()
    for owner in target.__mro__[:-1] if inspect.isclass(target) else [target]:
        if inspect.isclass(owner) and '__init__' not in vars(owner):
            continue
        parameters = inspect.signature(owner).parameters
        known |= parameters.keys()
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
            return known
    return set()


def _nearest(name: str, target: Any) -> str:
    near = difflib.get_close_matches(name, accepted_arguments(target), n=1)
    return f'; did you mean {near[0]}?' if near else ''
