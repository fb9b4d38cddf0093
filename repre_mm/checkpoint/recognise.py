"""Find the encoder in a checkpoint by its names: ours, OpenMMLab's, timm's, torchvision's, or those of a release."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from repre_mm.checkpoint.layouts import LAYOUTS, Layout, State, under
from repre_mm.checkpoint.reading import CheckpointError
from repre_mm.checkpoint.releases import Release, flat_tensors, identify, is_exported, unwrapped

# Where files that are no known release keep several encoders, and what it is. The first that matches is the one that
# its project evaluates: DINO's teacher (of a ResNet), MoCo's online encoder, timm's averaged weights.
_PLACES = {
    r'teacher\.backbone\.': 'DINO, the target encoder',
    r'state_dict\.(base_encoder|encoder_q)\.(0\.)?': 'MoCo, the online encoder',
    r'(state_dict_ema|model_ema)\.': 'timm training checkpoint, the averaged weights',
    r'(state_dict\.)?backbone\.(model\.)?': 'OpenMMLab checkpoint, the online encoder',
    r'((state_dict|model)\.)?': 'weights of an encoder',
}
CLASSIFIERS = ('head', 'heads', 'fc', 'classifier', 'head_dist', 'last_linear', 'lm_head')
# Decoders and tokens of masked image modelling, which stand beside the encoder's own tensors.
_PRETEXT = re.compile(r'(decoder_\w+|mask_token|masked_embed)(\.|$)')


@dataclass(frozen=True)
class Source:
    """An encoder in a checkpoint.

    Attributes:
        what: For people, e.g. ``'MoCo, the online encoder'``.
        place: The prefix of its names, e.g. ``'teacher.backbone.'``.
        layout: How its tensors are named; None if unknown.
        state: Its tensors, under their names without the prefix.
        heads: Names beside them that are no part of the encoder: classifiers, decoders, mask tokens.
        others: Places of the other encoders in a file that is no release.
        release: Whose weights the file holds, if known.
    """

    what: str
    place: str
    layout: Layout | None
    state: State
    heads: tuple[str, ...]
    others: tuple[str, ...]
    release: Release | None

    def __str__(self) -> str:
        return f'{self.what} ({self.place or "top level"}; {self.layout or "unknown names"})'


def layout_of(encoder: nn.Module) -> tuple[Layout, str]:
    """Layout of an encoder's names, and the prefix before them (``'model.'`` in a wrapper, or ``''``).

    An encoder of an unknown family gets a layout of its own, which fits files of the same architecture only.
    """
    names = {name: value.ndim for name, value in encoder.state_dict().items()}
    for layout in LAYOUTS:
        for prefix in layout.at(names):
            if all(name.startswith(prefix) for name in names):
                return layout, prefix
    root = 'model.' if all(name.startswith('model.') for name in names) else ''
    weights = [name.removeprefix(root) for name, ndim in names.items() if ndim > 1] or list(names)
    return Layout(type(encoder).__name__, 'its own', marks=(weights[0], weights[-1])), root


def recognise(checkpoint: Mapping[str, Any], *, prefix: str | None = None, like: Layout | None = None) -> Source:
    """Find the encoder in a checkpoint.

    Args:
        checkpoint: From :func:`repre_mm.checkpoint.read_checkpoint`.
        prefix: Where the encoder is, instead of searching: ``'momentum_encoder.0.'`` or, in a container,
            ``'student.backbone.'``. ``''``: the checkpoint or its ``state_dict`` is the encoder itself.
        like: A further layout to look for, see :func:`layout_of`.

    Raises:
        CheckpointError: There are no tensors, none under ``prefix``, no known encoder, or several in unknown places;
            the message says what is there instead.
    """
    tensors = flat_tensors(checkpoint)
    if not tensors:
        names = ', '.join(map(repr, list(checkpoint)[:8])) or 'nothing'
        raise CheckpointError(f'the checkpoint holds no tensors under "state_dict" or at its top level, only {names}')
    layouts = [*LAYOUTS, *([like] if like and like not in LAYOUTS else [])]
    release, exported = identify(checkpoint), is_exported(checkpoint)
    found: dict[str, Layout] = {}
    if prefix is not None:
        place, what = _told(checkpoint, tensors, prefix), 'the encoder under the given prefix'
    elif release and not exported:
        place, what = release.prefixes[release.default], f'{release.method}, the {release.default} encoder'
    else:
        found = {place: layout for layout in layouts for place in layout.at(tensors)}
        place, what = _choose(checkpoint, tensors, found)
        what = 'an encoder exported by repre_mm' if exported else what
    state = under(tensors, place)
    if all(name.startswith('model.') for name in state):  # a wrapper, as TimmBackbone
        state, place = under(state, 'model.'), f'{place}model.'
    layout = next((layout for layout in layouts if '' in layout.at(state)), None)
    heads: tuple[str, ...] = ()
    if layout in LAYOUTS:  # another family may have parts of that name; the load report lists what is left over
        heads = tuple(name for name in state if name.split('.')[0] in CLASSIFIERS or _PRETEXT.match(name))
    kept = {name: value for name, value in state.items() if name not in heads}
    return Source(what, place, layout, kept, heads, tuple(sorted(found.keys() - {place})), release)


def _told(checkpoint: Mapping[str, Any], tensors: State, prefix: str) -> str:
    """Complete a prefix by the entry of the checkpoint that holds it."""
    prefix = unwrapped(f'{prefix}.' if prefix and not prefix.endswith('.') else prefix)
    entries = ('', *map(str, checkpoint)) if prefix else ('model', '')
    for entry in ('state_dict', *entries):
        place = f'{entry}.{prefix}' if entry else prefix
        if under(tensors, place):
            return place
    raise CheckpointError(
        f'no tensor of the checkpoint is under the prefix {prefix!r}. Prefixes present: '
        f'{_prefixes(checkpoint, tensors)}. '
        "Name the one that holds the encoder, or '' if the checkpoint is the encoder itself"
    )


def _choose(checkpoint: Mapping[str, Any], tensors: State, found: Mapping[str, Layout]) -> tuple[str, str]:
    """Choose between the places of encoders; also returns what it is."""
    for pattern, what in _PLACES.items():
        for place in found:
            if re.fullmatch(pattern, place):
                return place, what
    if len(found) == 1:
        return next(iter(found)), 'the only encoder in the file'
    if found:
        places = ', '.join(sorted(found))
        raise CheckpointError(f'it holds several encoders, in unknown places: {places}. Name one as prefix (--prefix)')
    for place in ('state_dict.backbone.', 'backbone.'):
        if under(tensors, place):  # ConvNeXt, PVT, ...
            return place, 'OpenMMLab checkpoint, the online encoder, of an unknown family'
    families = ', '.join(dict.fromkeys(layout.family for layout in LAYOUTS))
    raise CheckpointError(
        f'it holds no known encoder ({families}). Prefixes present: {_prefixes(checkpoint, tensors)}. '
        'If one of them is the encoder of the config, name it as prefix (--prefix)'
    )


def _prefixes(checkpoint: Mapping[str, Any], tensors: State) -> str:
    """Count the tensors by the first part of their names, after the entry of the checkpoint."""
    parts = (name.split('.') for name in tensors)
    counts = Counter('.'.join(each[: 1 + isinstance(checkpoint.get(each[0]), Mapping)]) for each in parts)
    return ', '.join(f'{name}. ({count})' for name, count in counts.most_common(12))
