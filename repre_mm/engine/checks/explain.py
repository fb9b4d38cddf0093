"""Explain an exception of a constructor or a layer: which class refused what, and what to write instead."""

from __future__ import annotations

import difflib
import inspect
import re
import traceback
from typing import Any

from torch import nn

from repre_mm.utils.errors import plain_message


def explain(error: Exception) -> str:
    """Return ``CLASS: what it says`` in one line, for an error that came while mmengine built CLASS."""
    target, given = _what_was_built(error)
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


def failing_layer(error: Exception, module: nn.Module) -> str:
    """Return ``MODULE.LAYER fails (what it says)``, for an error of a module's forward."""
    names = {id(child): name for name, child in module.named_modules()}
    found = ''
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = names.get(id(frame.f_locals.get('self')), found) or found
    return f'{type(module).__name__}{"." + found if found else ""} fails ({first_line(error)})'


def _what_was_built(error: Exception) -> tuple[Any, dict]:
    """The innermost class that mmengine was building when an error came, and its arguments."""
    target, given = None, {}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == 'build_from_cfg' and hasattr(frame.f_locals.get('obj_cls'), '__name__'):
            target, given = frame.f_locals['obj_cls'], frame.f_locals['args']
    return target, given


def _nearest(name: str, target: Any) -> str:
    owners = target.__mro__[:-1] if inspect.isclass(target) else [target]
    known = {argument for owner in owners for argument in inspect.signature(owner).parameters}
    near = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean {near[0]}?' if near else ''
