"""Read a checkpoint's origin from its meta data, without running the config in them, which is Python source."""

from __future__ import annotations

import ast
from collections.abc import Mapping
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
    if meta.get('format') != EXPORT_FORMAT and isinstance(meta.get('cfg'), str):
        known |= _described(meta['cfg'])
    return {key: known[key] for key in _KEPT if isinstance(known.get(key), (str, int))}


def _described(config: str) -> dict[str, Any]:
    """Read the method of a config, as ``'repre_mm.RePreAlgorithm(MoCoV3)'``, and a ViT's heads."""
    try:
        tree = ast.parse(config)
    except (SyntaxError, ValueError):
        return {}
    assigned = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    model = _value(assigned.get('model'))
    if not isinstance(model, dict):
        return {}
    method, algorithm = model.get('type'), model.get('algorithm')
    if isinstance(algorithm, dict):
        method = f'{method}({algorithm.get("type")})'
    backbone = (algorithm if isinstance(algorithm, dict) else model).get('backbone')
    arch = backbone.get('arch') if isinstance(backbone, dict) else None
    return {'method': method, 'num_heads': arch.get('num_heads') if isinstance(arch, dict) else HEADS.get(arch)}


def _value(node: ast.expr | None) -> Any:
    """Read constants, and calls of ``dict`` as dictionaries; None for anything else."""
    if isinstance(node, ast.Call):
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    return node.value if isinstance(node, ast.Constant) else None
