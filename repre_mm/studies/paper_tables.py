"""Tables 1 to 3 of the RePre paper, filled from a results folder.

A results folder is any tree of the tools' output: JSON files of ``tools/linear_eval.py --out`` (identified by their
config), and work dirs of ``tools/train.py`` for detection and segmentation, with the pre-trained encoder in the config
and the scores in logs or JSON files.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from repre_mm.studies.gains import Gain
from repre_mm.studies.paper import SUPERVISED, TABLE_1, TABLE_2, TABLE_3
from repre_mm.studies.results import markdown_table
from repre_mm.utils.errors import UserError
from repre_mm.visualization.runs import Run, read_runs

_METHODS = {
    'simclr': 'SimCLR',
    'byol': 'BYOL',
    'mocov2': 'MoCo v2',
    'mocov3': 'MoCo v3',
    'moby': 'MoBY',
    'dino': 'DINO',
    'simsiam': 'SimSiam',
}
_ARCHS = {'vit-small': 'ViT-S', 'vit-base': 'ViT-B', 'swin-tiny': 'Swin-T'}
_NAME = re.compile(rf'(repre_)?({"|".join(_METHODS)})_({"|".join(_ARCHS)}).*-(\d+)e_in1k')
# Released encoders of supervised training, by a part of their file's name.
_SUPERVISED = {'swin_tiny_patch4_window7_224': 'Swin-T', 'deit_small_patch16_224': 'ViT-S'}
# Decoders of SETR, best first, of which Table 3 shows one: the paper does not say which it took.
_SETR = ('pup', 'mla', 'naive')


class Encoder(NamedTuple):
    """A pre-training as in the paper's tables; ``repre`` is None for supervised training."""

    method: str
    arch: str
    epochs: int
    repre: bool | None
    full_width: bool = False


@dataclass
class Results:
    """Scores of a results folder.

    Attributes:
        linear: Encoder -> top-1 of linear evaluation after its best epoch, in percent.
        detection: Encoder -> box and mask mAP of Mask R-CNN, in percent.
        segmentation: Encoder -> mIoU and mAcc of SETR, in percent, and its decoder.
        remarks: Scores that belong into no table, with the reason, and those of a last epoch.
    """

    linear: dict[Encoder, float] = field(default_factory=dict)
    detection: dict[Encoder, tuple[float, float]] = field(default_factory=dict)
    segmentation: dict[Encoder, tuple[float, float, str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def named_encoder(text: str) -> Encoder | None:
    """The pre-training in a config's name, or in a checkpoint's path."""
    match = _NAME.search(text)
    if match:
        repre, method, arch, epochs = match.groups()
        return Encoder(_METHODS[method], _ARCHS[arch], int(epochs), bool(repre), 'fullwidth' in match.group())
    for name, arch in _SUPERVISED.items():
        if name in text:
            return Encoder(SUPERVISED, arch, 300, None)
    return None


def collect(folder: Path) -> Results:
    """Read a results folder.

    Raises:
        UserError: There is no such folder, or a log or JSON file is damaged.
    """
    if not folder.is_dir():
        raise UserError(f'no such results folder: {folder}')
    results = Results()
    for path in sorted(folder.rglob('*.json')):
        content = _read(path)
        if isinstance(content, dict) and isinstance(content.get('linear'), dict):
            _add_linear(results, path, content)
    for path in sorted({file.parent for file in folder.rglob('*.py') if file.parent.name != 'vis_data'}):
        _add_transfer(results, *read_runs([path]))
    return results


def tables(results: Results) -> str:
    """Tables 1 to 3 in Markdown; '-' for missing scores."""
    lines = ['# Table 1: linear evaluation on ImageNet-1K, top-1 (%)', '', *_table_1(results), '']
    lines += ['# Table 2: Mask R-CNN on COCO, Swin-T, 1x', '', *_table_2(results), '']
    lines += ['# Table 3: SETR on Cityscapes, ViT-S', '', *_table_3(results), '']
    if results.remarks:
        lines += ['Remarks:', '', *(f'- {text}' for text in results.remarks), '']
    return '\n'.join(lines)


def gains(results: Results) -> list[Gain]:
    """The pairs of Table 1 with both scores."""
    found = []
    for row in TABLE_1:
        plain, repre = (results.linear.get(Encoder(row.method, row.arch, row.epochs, repre)) for repre in (False, True))
        if plain is not None and repre is not None:
            found.append(Gain(f'{row.method}\n{row.arch}, {row.epochs}', plain, repre, (row.base, row.repre)))
    return found


def _table_1(results: Results) -> list[str]:
    rows = []
    for row in TABLE_1:
        for full_width in (False, True):
            plain, repre = (
                results.linear.get(Encoder(row.method, row.arch, row.epochs, *kind))
                for kind in ((False,), (True, full_width))
            )
            if full_width and repre is None:
                continue
            width = ', full-width decoder' if full_width else ''
            paper = _pair(row.base, row.repre)
            rows.append([row.method + width, row.arch, str(row.epochs), *_pair(plain, repre), *paper])
    return markdown_table(
        ['Base', 'Arch.', 'Epoch', 'Acc (%)', 'w/ RePre', "paper's Acc (%)", "paper's w/ RePre"], rows
    )


def _table_2(results: Results) -> list[str]:
    rows = []
    for row in TABLE_2:
        found = results.detection.get(Encoder(row.method, 'Swin-T', row.epochs, row.repre), (None, None))
        scores = [_number(value) for value in (*found, row.box, row.mask)]
        rows.append([row.method, _mark(row.repre), str(row.epochs), *scores])
    paper = ["paper's mAP bbox", "paper's mAP mask"]
    return markdown_table(['Method', 'w/ RePre', 'Epoch', 'mAP bbox', 'mAP mask', *paper], rows)


def _table_3(results: Results) -> list[str]:
    rows = []
    for row in TABLE_3:
        encoder = Encoder(row.method, 'ViT-S', 300, row.repre)
        miou, macc, decoder = results.segmentation.get(encoder, (None, None, '-'))
        scores = [_number(value, 2) for value in (miou, macc, row.miou, row.macc)]
        rows.append([row.method, _mark(row.repre), decoder, *scores])
    return markdown_table(
        ['Method', 'w/ RePre', 'SETR decoder', 'mIoU', 'mAcc (%)', "paper's mIoU", "paper's mAcc (%)"], rows
    )


def _add_linear(results: Results, path: Path, content: dict[str, Any]) -> None:
    encoder, protocol = named_encoder(content.get('config') or ''), content['linear'].get('protocol', '')
    if encoder is None:
        results.remarks.append(f"{path}: config {content.get('config')!r} is not one of the paper's")
    elif content.get('checkpoint') == 'random':
        results.remarks.append(f'{path}: random weights')
    elif protocol.startswith('linear-cached'):
        results.remarks.append(f'{path}: a probe on cached features ({protocol}), not linear evaluation')
    elif encoder in results.linear:
        results.remarks.append(f'{path}: a second score of the same training')
    else:
        # The authors of all these protocols publish the best epoch.
        best = content['linear'].get('best_epoch')
        if best is None:
            results.remarks.append(f'{path}: the last epoch, since the file has no best one')
        results.linear[encoder] = (best or content['linear'])['top1']


def _add_transfer(results: Results, run: Run) -> None:
    scores = {key.rpartition('/')[2]: series.values[-1] for key, series in run.curves.items()}
    for numbers in run.scores.values():  # the test's, where its output was kept in the work dir
        scores |= {key.rpartition('/')[2]: value for key, value in numbers.items()}
    detection, segmentation = {'bbox_mAP', 'segm_mAP'} <= set(scores), {'mIoU', 'mAcc'} <= set(scores)
    if not (detection or segmentation):
        return
    start = Config.fromfile(run.config).get('pretrained')
    encoder = named_encoder(str(start)) if start else None
    if encoder is None:
        results.remarks.append(f'{run.path}: it started from {start or "random weights"}, which no table has')
    elif detection and run.config.name.startswith('mask-rcnn_swin-tiny'):
        results.detection[encoder] = (100 * scores['bbox_mAP'], 100 * scores['segm_mAP'])
    elif segmentation and run.config.name.startswith('setr-') and 'vit-small' in run.config.name:
        decoder = run.config.name.removeprefix('setr-').partition('_')[0]
        known = results.segmentation.get(encoder)
        if known is None or _SETR.index(decoder) < _SETR.index(known[2]):
            results.segmentation[encoder] = (scores['mIoU'], scores['mAcc'], decoder)
    else:
        results.remarks.append(f"{run.path}: {run.config.name} is not in the paper's tables")


def _read(path: Path) -> Any:
    text = path.read_text()
    try:
        return json.loads(text)
    except ValueError as error:
        if path.name == 'scalars.json' or path.parent.name == 'vis_data':  # one JSON value per line
            return None
        raise UserError(f'{path} is not JSON: {error}') from error


def _pair(plain: float | None, repre: float | None) -> list[str]:
    gain = f' (↑ {repre - plain:.1f})' if plain is not None and repre is not None else ''
    return [_number(plain), f'{_number(repre)}{gain}']


def _mark(repre: bool | None) -> str:
    return {None: '-', False: 'x', True: '✓'}[repre]


def _number(value: float | None, digits: int = 1) -> str:
    return '-' if value is None else f'{value:.{digits}f}'
