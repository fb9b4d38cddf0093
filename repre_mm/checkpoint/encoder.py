"""Build the encoder of a config, and fill one from a checkpoint file, unless that would change its features."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from repre_mm.checkpoint.layouts import CONSTANTS, Layout, State, convert
from repre_mm.checkpoint.provenance import provenance
from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint
from repre_mm.checkpoint.recognise import CLASSIFIERS, Source, layout_of, recognise
from repre_mm.checkpoint.report import LoadReport
from repre_mm.checkpoint.resize import fit_positions
from repre_mm.registry import MODELS

# Smallest share of the encoder's parameters to fill, and of the file's encoder to use, by number of elements. Below,
# features would be those of random weights, or of half a model.
_MIN_FILLED = 0.95

# What decides the features, in any library's names: positions, layer scale, distillation token, statistics of norms,
# the size of a patch.
_POSITIONS = re.compile(r'(^|\.)(absolute_)?(pos_embed|relative_position_bias_table)$')
_PATCHES = r'patch_embed\.proj(ection)?\.weight'
_DECISIVE = re.compile(rf'(^|\.)(gamma\w*|ls\d\.gamma|gamma\d\.weight|dist_token|[qv]_bias|running_\w+|{_PATCHES})$')
_FINAL_NORM = re.compile(r'^(norm|fc_norm|ln1|ln2)\.(weight|bias)$')


def build_encoder(cfg: Config, **options: Any) -> nn.Module:
    """Build a config's encoder, without initialising it.

    Args:
        cfg: Its ``model`` has a ``backbone``, or is RePre around an ``algorithm`` that has one.
        **options: Settings of the backbone that replace the config's.

    Raises:
        CheckpointError: There is no encoder.
    """
    model = cfg.get('model') or {}
    backbone = (model.get('algorithm') or model).get('backbone')
    if not backbone:
        where = cfg.filename or 'the config'
        raise CheckpointError(f'{where} has no encoder: neither model.backbone nor model.algorithm.backbone')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        return MODELS.build({**backbone, **options})


def load_pretrained(
    backbone: nn.Module,
    path: str | os.PathLike,
    *,
    trust: bool = False,
    prefix: str | None = None,
) -> LoadReport:
    """Fill an encoder, in place, from any checkpoint that is recognised.

    Names are converted (see :mod:`repre_mm.checkpoint.layouts`), and positions resized to the encoder's image size and
    windows. From a file with several encoders, the one is taken that its authors evaluate.

    Args:
        backbone: ViT, Swin or ResNet of mmpretrain, mmdet, mmseg or timm, or
            :class:`~repre_mm.models.backbones.TimmBackbone`; an encoder of another family takes files in its own names.
        path: The file.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.
        prefix: Where the encoder is in the file; see :func:`repre_mm.checkpoint.recognise`.

    Returns:
        The report. Tensors that do not fit keep the encoder's values and are listed.

    Raises:
        CheckpointError: The file is unreadable, holds NaN or no encoder that fits, or has positions or a final norm
            that find no place. The encoder is unchanged then.
    """
    checkpoint = read_checkpoint(path, trust=trust)
    layout, root = layout_of(backbone)
    try:
        source = recognise(checkpoint, prefix=prefix, like=layout)
        check_finite(source)
        state = source.state
        if source.layout:
            _check_family(backbone, layout, source, known_heads(checkpoint, source))
            state = convert(state, source.layout, layout)
        state = {root + name: value for name, value in state.items()}
        resized = fit_positions(state, backbone, layout)
    except CheckpointError as error:
        raise CheckpointError(f'cannot use {path}: {error}') from error

    report, fitting = _compare(backbone, state, resized, source, root)
    sizes = {name: value.numel() for name, value in state.items()}
    used = 1 - sum(sizes[name] for name in report.unexpected) / max(sum(sizes.values()), 1)
    if min(report.filled, used) < _MIN_FILLED:
        raise CheckpointError(
            f'{path} does not fit the encoder, which is of another kind or size: {report.filled:.1%} of its '
            f'parameters would be filled, and {used:.1%} of the file used; {_MIN_FILLED:.0%} of both are needed: '
            f'{_hint(source)}\n{report.table()}'
        )
    if cause := _lost(report, source, root):
        raise CheckpointError(
            f'{path} does not fit the encoder: {type(backbone).__name__} {cause}, which would change its features: '
            f'{_hint(source)}\n{report.table()}'
        )
    backbone.load_state_dict(fitting, strict=False)
    return report


def check_finite(source: Source) -> None:
    """Refuse an encoder of a diverged training.

    Raises:
        CheckpointError: A tensor holds NaN or infinity.
    """
    bad = [name for name, value in source.state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise CheckpointError(
            f'{len(bad)} tensors hold NaN or infinity ({", ".join(bad[:3])}, ...): the training had diverged. '
            'Take an earlier checkpoint'
        )


def known_heads(checkpoint: Mapping[str, Any], source: Source) -> int | None:
    """Find the attention heads of a ViT in the config of its training, or by its release."""
    return provenance(checkpoint).get('num_heads', source.release.options.get('num_heads') if source.release else None)


def _check_family(backbone: nn.Module, layout: Layout, source: Source, heads: int | None) -> None:
    """Compare the families, and the numbers of heads of ViTs, which no shape shows."""
    if source.layout.family != layout.family:
        raise CheckpointError(
            f'it holds a {source.layout.family} ({source}), another kind of encoder than {type(backbone).__name__}: '
            f'{_hint(source)}'
        )
    ours = next((m.num_heads for m in backbone.modules() if isinstance(getattr(m, 'num_heads', None), int)), None)
    if layout.family == 'ViT' and None not in (heads, ours) and heads != ours:
        raise CheckpointError(
            f'it was trained with {heads} attention heads, this encoder has {ours}: set num_heads={heads} in the '
            "backbone's arch (or use the config that it was trained with)"
        )


def _lost(report: LoadReport, source: Source, root: str) -> str | None:
    """Tell which tensors that decide the features would be lost, or stay random; None if there are none."""

    def matching(pattern: re.Pattern, names: Iterable[str]) -> list[str]:
        return [name for name in names if pattern.search(name.removeprefix(root))]

    unplaced = [*report.unexpected, *report.mismatched]
    lost = [*matching(_POSITIONS, unplaced), *matching(_DECISIVE, unplaced)]
    if source.layout and source.layout.family != 'Swin' and matching(_FINAL_NORM, report.missing):
        # An encoder may have no final norm on purpose; one of another name would keep random weights.
        lost += matching(_FINAL_NORM, unplaced)
    if lost:
        return f'has no place for {", ".join(lost[:4])}{", ..." if len(lost) > 4 else ""}'
    unfilled = matching(_POSITIONS, report.missing)
    if unfilled:
        return f'needs {", ".join(unfilled[:4])}{", ..." if len(unfilled) > 4 else ""}, which the file lacks'
    return None


def _hint(source: Source) -> str:
    if source.release and source.release.architecture:
        return f'the file holds {source.release.method} weights, which fit {source.release.timm}'
    return 'use the config that it was trained with'


def _compare(backbone: nn.Module, state: State, resized: State, source: Source, root: str) -> tuple[LoadReport, State]:
    """Compare names and shapes; returns the report and the tensors to copy."""
    target = backbone.state_dict()
    shapes = {name: (tuple(state[name].shape), tuple(value.shape)) for name, value in target.items() if name in state}
    fitting = {
        name: resized.get(name, state[name])
        for name, (theirs, ours) in shapes.items()
        if theirs == ours or name in resized
    }
    counted = {name for name in target if not name.endswith(CONSTANTS)}
    unexpected = [name for name in state if name not in target and not name.endswith(CONSTANTS)]
    heads = [name for name in unexpected if name.removeprefix(root).split('.')[0] in CLASSIFIERS]
    sizes = {name: parameter.numel() for name, parameter in backbone.named_parameters()}
    report = LoadReport(
        loaded=tuple(fitting),
        missing=tuple(name for name in target if name in counted and name not in state),
        unexpected=tuple(name for name in unexpected if name not in heads),
        mismatched={name: both for name, both in shapes.items() if name in counted and name not in fitting},
        resized={name: both for name, both in shapes.items() if name in resized},
        filled=sum(sizes.get(name, 0) for name in fitting) / max(sum(sizes.values()), 1),
        source=str(source),
        heads=(*source.heads, *heads),
    )
    return report, fitting
