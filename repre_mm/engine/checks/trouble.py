"""Where in a config an exception comes from, in words."""

from __future__ import annotations

import traceback
from typing import Any

from repre_mm.utils.errors import plain_message


def first_line(error: BaseException) -> str:
    """What an error says; where it says nothing, what was asserted, or its name."""
    lines = plain_message(error).strip().splitlines()
    if lines:
        return lines[0]
    place = traceback.extract_tb(error.__traceback__)[-1:]
    asserted = place[0].line if place and isinstance(error, AssertionError) else None
    return f'its arguments break `{asserted}`' if asserted else type(error).__name__


def built_class(error: BaseException) -> str | None:
    """The name of the innermost class that mmengine was building when an error came."""
    name, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == 'build_from_cfg' and 'obj_cls' in trace.tb_frame.f_locals:
            name = getattr(trace.tb_frame.f_locals['obj_cls'], '__name__', name)
        trace = trace.tb_next
    return name


def culprit_of(error: BaseException, module: Any) -> str:
    """The layer of a module whose forward an error came from, and what it says."""
    names = {id(child): name for name, child in module.named_modules()}
    found, trace = '', error.__traceback__
    while trace is not None:
        found = names.get(id(trace.tb_frame.f_locals.get('self')), found) or found
        trace = trace.tb_next
    return f'{type(module).__name__}{"." + found if found else ""} fails ({first_line(error)})'
