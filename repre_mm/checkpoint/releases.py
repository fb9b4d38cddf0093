"""Identify released weights: the method, and the model, options and normalisation that give its authors' features.

One row per release; :func:`identify` compares a file's names with them. What decides the features and shows in the
tensors (positions, final norm, layer scale, distillation token, sizes) becomes options of the timm model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from repre_mm.checkpoint.layouts import BLOCK_TABLE, LAYOUTS, SHARED_TABLE, Layout, State, describe, under
from repre_mm.checkpoint.provenance import provenance
from repre_mm.checkpoint.reading import EXPORT_FORMAT

# In pixels of 0 to 255.
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
HALF = (127.5, 127.5, 127.5)

# What distributed and compiled models, and moving averages of a model, put before its names.
_WRAPPERS = re.compile(r'(?:(?<=^)|(?<=\.))(module|_orig_mod)\.')


@dataclass(frozen=True)
class Release:
    """The encoders of a file and how their authors evaluate them.

    Attributes:
        method: Whose weights, e.g. ``'DINO'``.
        architecture: The timm model; None if timm has no model of that size.
        options: Of the timm model, those that differ from its defaults or decide the features.
        mean: Per channel, in pixels of 0 to 255.
        std: Likewise.
        prefixes: ``'online'`` and ``'target'``, those that the file has -> prefix for
            :func:`repre_mm.checkpoint.load_pretrained`.
        default: Which of them the authors evaluate.
        pooling: ``'cls'`` or ``'mean'`` (of the patch tokens).
    """

    method: str
    architecture: str | None
    options: dict[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    prefixes: dict[str, str]
    default: str
    pooling: str

    @property
    def timm(self) -> str:
        """``'timm:NAME,option=value,...'``, as the command line names the model."""
        options = ''.join(f',{name}={value!r}'.replace(' ', '') for name, value in self.options.items())
        return f'timm:{self.architecture or "NAME"}{options}'


class _Row(NamedTuple):
    """A release in the table."""

    method: str
    library: str  # of the layout: 'timm' or 'mmpretrain'; Swin's own is 'release'
    online: tuple[str, ...] = ()  # places of the online encoder, CONTAINER.PREFIX.; the first that holds one counts
    target: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()  # patterns, each of which matches a name of the file
    absent: str | None = None  # a pattern that matches none
    families: tuple[str, ...] = ('ViT',)
    default: str = 'online'
    heads: int | None = None  # attention heads; None: those of timm's model of that size; 0: unknown
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


_DINO = (('student.backbone.',), ('teacher.backbone.',))
_MODEL = ('model.', 'state_dict.', '')
_MOCO = (('state_dict.base_encoder.',), ('state_dict.momentum_encoder.',))
_MOBY = (('model.encoder.',), ('model.encoder_k.',), (r'model\.projector\.',))
_MM = ('state_dict.backbone.',)
_MM_TARGET = ('state_dict.momentum_encoder.0.',)
_PREDICTOR = r'state_dict\.head\.predictor\.fc0'
_TABLES = r'.*relative_position_bias_table$'
_INCEPTION = {'mean': HALF, 'std': HALF}
# The first row that fits counts.
_TABLE = (
    # facebookresearch/dino, eval_linear.py: --checkpoint_key teacher; bytedance/ibot likewise.
    _Row('iBOT', 'timm', *_DINO, (r'student\.backbone\.masked_embed|teacher\.head\.last_layer2',), default='target'),
    _Row('DINO', 'timm', *_DINO, default='target'),
    # facebookresearch/moco-v3, vits.py: ViT-S has 12 heads too.
    _Row('MoCo v3', 'timm', *_MOCO, heads=12),
    # SwinTransformer/Transformer-SSL
    _Row('MoBY', 'release', *_MOBY, families=('Swin',)),
    _Row('MoBY', 'timm', *_MOBY),
    # lxtGH/CAE: whole, or the encoder alone. ImageNet's mean and deviation.
    _Row('CAE', 'timm', ('model.encoder.',), ('model.teacher.',), families=('BEiT',)),
    _Row('CAE', 'timm', _MODEL, signs=(r'(.*\.)?pos_embed$',), absent=_TABLES, families=('BEiT',)),
    # microsoft/unilm, beit2/run_beitv2_pretraining.py and beit/datasets.py
    _Row('BEiT v2', 'timm', _MODEL, signs=(r'(.*\.)?cls_pt_layers\.',), families=('BEiT',)),
    _Row('BEiT', 'timm', _MODEL, signs=(_TABLES,), families=('BEiT',), **_INCEPTION),
    # facebookresearch/mae: with its decoder, and fine-tuned
    _Row('MAE', 'timm', _MODEL, signs=(r'(.*\.)?decoder_embed\.weight',)),
    _Row('MAE, fine-tuned', 'timm', ('model.',), signs=(r'model\.fc_norm\.',)),
    # facebookresearch/deit, main.py: --eval reads 'model', not the average.
    _Row('DeiT', 'timm', ('model.',), ('model_ema.',), (r'model\.head\.',)),
    _Row('MAE', 'timm', ('model.',)),  # the encoder alone
    _Row('Swin', 'release', ('model.',), families=('Swin',)),  # microsoft/Swin-Transformer
    # The encoder alone; other projects save a plain ViT under the same names.
    _Row('iBOT', 'timm', target=('state_dict.',), absent=r'state_dict\.head', default='target', heads=0),
    _Row('DINO', 'timm', target=('',), absent='head', default='target', heads=0),
    # mmpretrain's own, and trainings with its algorithms
    # BYOL's predictor, under the same names, has biases.
    _Row('MoCo v3 of mmpretrain', 'mmpretrain', _MM, _MM_TARGET, (_PREDICTOR,), rf'{_PREDICTOR}\.bias', heads=12),
    _Row('MAE of mmpretrain', 'mmpretrain', _MM, signs=(r'state_dict\.neck\.decoder_embed\.',)),
    _Row('BEiT of mmpretrain', 'mmpretrain', _MM, signs=(_TABLES,), families=('BEiT',)),
    _Row('CAE of mmpretrain', 'mmpretrain', _MM, ('state_dict.teacher.',), families=('BEiT',)),
)


def identify(checkpoint: Mapping[str, Any]) -> Release | None:
    """Identify the release that a checkpoint is; None for any other file. Exported files say it themselves.

    Args:
        checkpoint: From :func:`repre_mm.checkpoint.read_checkpoint`.
    """
    if is_exported(checkpoint):
        known = checkpoint['meta'].get('release')
        return Release(**{**known, 'mean': tuple(known['mean']), 'std': tuple(known['std'])}) if known else None
    tensors = flat_tensors(checkpoint)
    for row in _TABLE:
        if not all(any(re.match(sign, name) for name in tensors) for sign in row.signs):
            continue
        if row.absent and any(re.match(row.absent, name) for name in tensors):
            continue
        prefixes = {which: _first(tensors, getattr(row, which), row) for which in ('online', 'target')}
        prefixes = {which: place for which, place in prefixes.items() if place is not None}
        if prefixes:
            default = row.default if row.default in prefixes else next(iter(prefixes))
            state = under(tensors, prefixes[default])
            layout = _layout(state, row)
            heads = provenance(checkpoint).get('num_heads', row.heads)
            architecture, options = _timm_model(state, layout, heads)
            if architecture is None and row.library == 'mmpretrain':
                options = {}  # of any size, so with any number of heads
            pooling = 'mean' if layout.family == 'Swin' or options.get('global_pool') == 'avg' else 'cls'
            return Release(row.method, architecture, options, row.mean, row.std, prefixes, default, pooling)
    return None


def is_exported(checkpoint: Mapping[str, Any]) -> bool:
    """Whether :func:`repre_mm.checkpoint.export_encoder` wrote the file."""
    meta = checkpoint.get('meta')
    return isinstance(meta, Mapping) and meta.get('format') == EXPORT_FORMAT


def unwrapped(name: str) -> str:
    """A tensor's name without what wrapped models add."""
    return _WRAPPERS.sub('', name)


def flat_tensors(checkpoint: Mapping[str, Any]) -> State:
    """A checkpoint's own tensors and, as ENTRY.NAME, those of its entries; names are unwrapped."""
    named = {}
    for entry, value in checkpoint.items():
        inside = {f'{entry}.{name}': each for name, each in value.items()} if isinstance(value, Mapping) else {}
        named |= inside or {str(entry): value}
    return {unwrapped(name): value for name, value in named.items() if isinstance(value, Tensor)}


def _first(tensors: State, places: tuple[str, ...], row: _Row) -> str | None:
    """Find the first place that holds an encoder of the row."""
    return next((place for place in places if _layout(under(tensors, place), row)), None)


def _layout(state: State, row: _Row) -> Layout | None:
    layouts = (each for each in LAYOUTS if each.library == row.library and each.family in row.families)
    return next((layout for layout in layouts if layout.at(state)[:1] == ['']), None)


def _timm_model(state: State, layout: Layout, heads: int | None) -> tuple[str | None, dict[str, Any]]:
    """Find the timm model of an encoder, and the options that give the same features."""
    facts = describe(state, layout)
    return _swin(facts) if layout.family == 'Swin' else _vit(layout.to_pivot(state), facts, layout.family, heads)


# (width, depth) -> name of the size and attention heads in timm's ViTs
_VITS = {
    (192, 12): ('tiny', 3),
    (384, 12): ('small', 6),
    (768, 12): ('base', 12),
    (1024, 24): ('large', 16),
    (1280, 32): ('huge', 16),
}


def _vit(state: State, facts: dict[str, Any], family: str, heads: int | None) -> tuple[str | None, dict[str, Any]]:
    width, patch = facts['embed_dims'], facts['patch_size']
    size, usual = _VITS.get((width, facts['num_layers']), (None, None))
    options: dict[str, Any] = {}
    table = next((state[name] for name in (SHARED_TABLE, BLOCK_TABLE) if name in state), None)
    if family == 'BEiT':
        # CAE-S, which timm lacks, has 12 heads, as base.
        size = {'small': 'base', 'base': 'base', 'large': 'large'}.get(size)
        usual = 16 if size == 'large' else 12
        name = f'beit_{size}_patch16_224'
        options |= {'embed_dim': width} if width == 384 else {}
        options |= {
            'global_pool': 'avg' if 'ln2.weight' in state else 'token',
            'use_abs_pos_emb': 'pos_embed' in state,
            'use_rel_pos_bias': BLOCK_TABLE in state,
            'use_shared_rel_pos_bias': SHARED_TABLE in state,
        }
        options |= {} if 'layers.0.gamma_1' in state else {'init_values': 0}
        heads = table.shape[1] if table is not None else heads
    elif 'dist_token' in state:
        name = f'deit_{size}_distilled_patch16_224'
    else:
        name = f'vit_{size}_patch{14 if size == "huge" else 16}_224'
        options |= {'global_pool': 'avg'} if 'fc_norm.weight' in state else {}
    heads = usual if heads is None else heads
    options |= {'num_heads': heads} if heads else {}
    if size is None:
        return None, options
    options |= {'patch_size': patch} if f'patch{patch}_' not in name else {}
    side = _side(state, table)
    if side and side * patch != 224:
        options['img_size'] = side * patch
    return name, options


def _side(state: State, table: Tensor | None) -> int:
    """Patches along a side of the image that the positions are for; 0 without positions."""
    if 'pos_embed' in state:
        tokens = 1 + ('dist_token' in state)
        return math.isqrt(state['pos_embed'].shape[1] - tokens)
    # (2 side - 1) ** 2 rows, and 3 of the class token
    return 0 if table is None else (math.isqrt(len(table) - 3) + 1) // 2


_SWINS = {
    (96, (2, 2, 6, 2)): 'tiny',
    (96, (2, 2, 18, 2)): 'small',
    (128, (2, 2, 18, 2)): 'base',
    (192, (2, 2, 18, 2)): 'large',
}


def _swin(facts: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    size = _SWINS.get((facts['embed_dims'], tuple(facts['depths'])))
    window = facts['window_size']
    if size is None or window not in (7, 12) or facts['patch_size'] != 4:
        return None, {}
    name = f'swin_{size}_patch4_window{window}_{32 * window}'
    known = name if window == 7 or size in ('base', 'large') else f'swin_{size}_patch4_window7_224'
    return known, {} if known == name else {'window_size': 12, 'img_size': 384}
