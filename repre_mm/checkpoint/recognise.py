"""Find the encoder in a checkpoint by its names: ours, OpenMMLab's, timm's, torchvision's, or those of a release."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from repre_mm.checkpoint.layouts import LAYOUTS, Layout, State, under
from repre_mm.checkpoint.reading import CheckpointError
from repre_mm.checkpoint.releases import Release, identify, is_exported, tensors_by_entry, unwrapped

# Where files that are no known release keep several encoders: (container, prefix, what it is), the one to take first. A
# container is an entry of the checkpoint that holds tensors ('' is the checkpoint itself). The first that matches is
# the one that its project evaluates: DINO's teacher (of a ResNet), MoCo's online encoder, timm's averaged weights.
_PLACES = (
    ('teacher', r'backbone\.', 'DINO, the target encoder'),
    ('state_dict', r'(base_encoder|encoder_q)\.(0\.)?', 'MoCo, the online encoder'),
    ('state_dict_ema|model_ema', '', 'timm training checkpoint, the averaged weights'),
    ('state_dict|', r'backbone\.(model\.)?', 'OpenMMLab checkpoint, the online encoder'),
    ('state_dict|model|', '', 'weights of an encoder'),
)
CLASSIFIERS = ('head', 'heads', 'fc', 'classifier', 'head_dist', 'last_linear', 'lm_head')
# Decoders and tokens of masked image modelling, which stand beside the encoder's own tensors.
_PRETEXT = re.compile(r'(decoder_\w+|mask_token|masked_embed)(\.|$)')

# Parts of names that show whose a file is, of those that cannot be read.
_FOREIGN = {'.patch_embeddings.': 'Hugging Face transformers', 'visual.conv1.': 'CLIP'}


@dataclass(frozen=True)
class Source:
    """An encoder in a checkpoint.

    Attributes:
        what: For people, e.g. ``'MoCo, the online encoder'``.
        place: Its container and prefix, e.g. ``'teacher: backbone.'``.
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
    heads: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    release: Release | None = None

    def __str__(self) -> str:
        return f'{self.what} ({self.place}; {self.layout or "unknown names"})'


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
    containers = tensors_by_entry(checkpoint)
    if not containers:
        names = ', '.join(map(repr, list(checkpoint)[:8])) or 'nothing'
        raise CheckpointError(f'the checkpoint holds no tensors under "state_dict" or at its top level, only {names}')
    layouts = [*LAYOUTS, *([like] if like and like not in LAYOUTS else [])]
    release = identify(checkpoint)
    if prefix is not None:
        return _at_prefix(containers, prefix, layouts, release)
    if release and not is_exported(checkpoint):
        source = _at_prefix(containers, release.prefixes[release.default], layouts, release)
        return replace(source, what=f'{release.method}, the {release.default} encoder')

    found = [
        (container, start, layout)
        for container, tensors in containers.items()
        for layout in layouts
        for start in layout.at(tensors)
    ]
    chosen, what = _choose(found)
    if chosen is None:
        if not found and any(key.startswith('backbone.') for tensors in containers.values() for key in tensors):
            what = 'OpenMMLab checkpoint, the online encoder, of an unknown family'  # ConvNeXt, PVT, ...
            return replace(_at_prefix(containers, 'backbone.', layouts, None), what=what)
        raise CheckpointError(_nothing_found(containers, found))
    if is_exported(checkpoint):
        what = 'an encoder exported by repre_mm'
    source = _source(containers, *chosen, what, release)
    return replace(source, others=tuple(sorted({_place(*other[:2]) for other in found} - {source.place})))


def _choose(found: list[tuple[str, str, Layout]]) -> tuple[tuple[str, str, Layout] | None, str]:
    for container, prefix, what in _PLACES:
        for candidate in found:
            if re.fullmatch(container, candidate[0]) and re.fullmatch(prefix, candidate[1]):
                return candidate, what
    return (found[0], 'the only encoder in the file') if len(found) == 1 else (None, '')


def _at_prefix(containers: dict[str, State], prefix: str, layouts: list[Layout], release: Release | None) -> Source:
    prefix = unwrapped(f'{prefix}.' if prefix and not prefix.endswith('.') else prefix)
    for container in sorted(containers, key=lambda name: name != 'state_dict'):
        for start in (prefix, prefix.removeprefix(f'{container}.')):
            state = under(containers[container], start)
            if state and (prefix or container in ('', 'state_dict', 'model')):
                if all(key.startswith('model.') for key in state):  # a wrapper, as TimmBackbone
                    state, start = under(state, 'model.'), f'{start}model.'
                layout = next((layout for layout in layouts if '' in layout.at(state)), None)
                return _source(containers, container, start, layout, 'the encoder under the given prefix', release)
    raise CheckpointError(
        f'no tensor of the checkpoint is under the prefix {prefix!r}. Prefixes present: {_prefixes(containers)}. '
        "Name the one that holds the encoder, or '' if the checkpoint is the encoder itself"
    )


def _source(
    containers: dict[str, State],
    container: str,
    start: str,
    layout: Layout | None,
    what: str,
    release: Release | None,
) -> Source:
    state = under(containers[container], start)
    heads: tuple[str, ...] = ()
    if layout in LAYOUTS:  # another family may have parts of that name; the load report lists what is left over
        heads = tuple(key for key in state if key.split('.')[0] in CLASSIFIERS or _PRETEXT.match(key))
    kept = {name: value for name, value in state.items() if name not in heads}
    return Source(what, _place(container, start), layout, kept, heads, release=release)


def _nothing_found(containers: dict[str, State], found: list[tuple[str, str, Layout]]) -> str:
    if found:
        places = ', '.join(sorted({f'{container + "." if container else ""}{start}' for container, start, _ in found}))
        return f'it holds several encoders, in unknown places: {places}. Name one as prefix (--prefix)'
    for part, whose in _FOREIGN.items():
        if any(part in key for tensors in containers.values() for key in tensors):
            return f'its names are those of {whose}, which cannot be read: convert it to the names of timm first'
    families = ', '.join(dict.fromkeys(layout.family for layout in LAYOUTS))
    return (
        f'it holds no known encoder ({families}). Prefixes present: {_prefixes(containers)}. '
        'If one of them is the encoder of the config, name it as prefix (--prefix)'
    )


def _prefixes(containers: dict[str, State]) -> str:
    counts = Counter(
        f'{container}.{key.split(".")[0]}.' if container not in ('', 'state_dict') else f'{key.split(".")[0]}.'
        for container, tensors in containers.items()
        for key in tensors
    )
    return ', '.join(f'{name} ({count})' for name, count in counts.most_common(12))


def _place(container: str, prefix: str) -> str:
    return ': '.join(part for part in (container, prefix) if part) or 'top level'
