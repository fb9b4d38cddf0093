"""Origin of a checkpoint from its meta data, read without running the config that they hold.

MMEngine saves the config as Python source, and its own parser executes that. Here it is only parsed: literals are
looked up in the syntax tree.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from repre_mm.checkpoint.reading import EXPORT_FORMAT

_KEPT = ('method', 'num_heads', 'config', 'experiment', 'epoch', 'iter')
# Attention heads of the architectures that mmpretrain's ViTs know by name.
_NAMES_BY_HEADS = {
    3: 'deit-t deit-tiny',
    6: 'deit-s deit-small dinov2-s dinov2-small',
    8: 's small',
    12: 'b base deit-b deit-base mocov3-s mocov3-small',
    16: 'l large h huge eva-g eva-giant',
    24: 'dinov2-g dinov2-giant',
}
HEADS = {name: heads for heads, names in _NAMES_BY_HEADS.items() for name in names.split()}


def provenance(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what is known of a training: method, num_heads (of a ViT), config, experiment, epoch, iter.

    Args:
        checkpoint: From :func:`repre_mm.checkpoint.read_checkpoint`; an exported file passes on its source's.
    """
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    known = {'epoch': checkpoint.get('epoch'), 'experiment': meta.get('experiment_name')}
    known |= {key: meta[key] for key in _KEPT if key in meta}
    text = meta.get('cfg')
    if meta.get('format') != EXPORT_FORMAT and isinstance(text, str):
        known |= {'method': method_in_config(text), 'num_heads': heads_in_config(text)}
    return {key: known[key] for key in _KEPT if isinstance(known.get(key), (str, int))}


def method_in_config(text: str) -> str | None:
    """``model.type`` of a config, with the algorithm that it wraps: ``'repre_mm.RePreAlgorithm(MoCoV3)'``."""
    for name, call in _calls(text):
        if name == 'model':
            wrapped = call.get('algorithm')
            inner = _constant(_keywords(wrapped).get('type')) if isinstance(wrapped, ast.Call) else None
            outer = _constant(call.get('type'))
            return f'{outer}({inner})' if inner else outer
    return None


def heads_in_config(text: str) -> int | None:
    """Attention heads of the ViT that a config names as its ``backbone``; None where it does not say."""
    for name, call in _calls(text):
        if name == 'backbone' and 'arch' in call:
            arch = call['arch']
            heads = _constant(_keywords(arch).get('num_heads')) if isinstance(arch, ast.Call) else None
            return heads if isinstance(heads, int) else HEADS.get(_constant(arch))
    return None


def _calls(text: str) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """Every ``name=dict(...)`` in a config's source, outer ones first: the name and the keywords."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
        elif isinstance(node, ast.keyword) and node.arg:
            name, value = node.arg, node.value
        else:
            continue
        if isinstance(value, ast.Call):
            yield name, _keywords(value)


def _keywords(call: ast.Call) -> dict[str, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def _constant(node: ast.expr | None) -> Any:
    return node.value if isinstance(node, ast.Constant) else None
