"""From a checkpoint to a filled encoder, with a report of what was filled and what was not."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint

#: Below this share of filled parameters an encoder counts as not loaded: features would be those of random
#: weights.
MIN_FILLED = 0.95

# Position embeddings that mmpretrain's backbones resize themselves when they are loaded at another image
# size.
_RESIZED_BY_BACKBONE = ('pos_embed', 'absolute_pos_embed')


@dataclass(frozen=True)
class LoadReport:
    """What became of every key.

    Attributes:
        loaded: Keys copied (the resized ones too).
        missing: Keys of the encoder that the checkpoint lacks.
        unexpected: Keys under the prefix that the encoder lacks.
        mismatched: Key -> (shape in the checkpoint, shape in the encoder), not copied.
        resized: Likewise, for position embeddings that were interpolated to the encoder's grid.
        filled: Share of the encoder's parameters, by number of elements, that were filled; 0 to 1.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    filled: float

    @property
    def complete(self) -> bool:
        """Whether every tensor of the encoder was filled."""
        return not (self.missing or self.mismatched)

    def table(self, max_keys: int = 5) -> str:
        """Text for people: one line per kind, naming up to ``max_keys`` keys of each."""

        def shapes(changes: dict) -> list[str]:
            return [f'{key} {list(theirs)} -> {list(ours)}' for key, (theirs, ours) in changes.items()]

        def row(kind: str, entries: tuple | list) -> str:
            more = f', and {len(entries) - max_keys} more' if len(entries) > max_keys else ''
            return f'  {kind:<11}{len(entries):>5}  {", ".join(entries[:max_keys])}{more}'.rstrip()

        lines = [f'encoder parameters filled: {self.filled:.2%}', f'  {"loaded":<11}{len(self.loaded):>5}']
        lines += [
            row(kind, entries)
            for kind, entries in (
                ('resized', shapes(self.resized)),
                ('missing', self.missing),
                ('mismatched', shapes(self.mismatched)),
                ('unexpected', self.unexpected),
            )
            if entries
        ]
        return '\n'.join(lines)


def encoder_state_dict(checkpoint: Mapping[str, Any], prefix: str = 'backbone.') -> dict[str, Tensor]:
    """The encoder's tensors in a checkpoint, under the encoder's own names.

    Args:
        checkpoint: MMEngine's training checkpoint (``{'state_dict': ..., 'meta': ...}``) or a plain state
            dict.
        prefix: Where the encoder sits in it; ``''`` when the checkpoint is the encoder itself. MMEngine's
            self-supervised methods keep the online encoder, the one that is trained, under ``backbone.``.

    Returns:
        Name -> tensor, with ``prefix`` (and the ``module.`` of a distributed wrapper before it) taken off.

    Raises:
        CheckpointError: There are no tensors, or none under ``prefix``; the message lists the prefixes
            present.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, Mapping):
        raise CheckpointError(f'"state_dict" in the checkpoint is a {type(state).__name__}, not a dictionary')
    tensors = {key.removeprefix('module.'): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f'the checkpoint holds no tensors under "state_dict" or at its top level, only {_listed(state)}'
        )
    if prefix and not prefix.endswith('.'):
        prefix += '.'
    encoder = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if not encoder:
        counts = Counter(f'{key.split(".")[0]}.' for key in tensors)
        present = ', '.join(f'{name} ({count})' for name, count in counts.most_common(12))
        raise CheckpointError(
            f'no tensor of the checkpoint is under the prefix {prefix!r}. Prefixes present: {present}. '
            "Name the one that holds the encoder, or '' if the checkpoint is the encoder itself"
        )
    return encoder


def load_encoder(
    encoder: nn.Module, path: str | os.PathLike, prefix: str = 'backbone.', *, unsafe: bool = False
) -> LoadReport:
    """Fill an encoder, in place, from a checkpoint file.

    Args:
        encoder: For instance an mmpretrain backbone.
        path: The checkpoint.
        prefix: See :func:`encoder_state_dict`.
        unsafe: See :func:`repre_mm.checkpoint.read_checkpoint`.

    Returns:
        The report. Tensors whose shapes differ keep the encoder's values and are listed; position embeddings
        of another image size are resized by mmpretrain's backbones and are listed too.

    Raises:
        CheckpointError: The file is unreadable, lacks the prefix, or fills less than ``MIN_FILLED`` of the
            parameters.
    """
    try:
        state = encoder_state_dict(read_checkpoint(path, unsafe=unsafe), prefix)
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f'cannot use {path}: {error}') from error
    target = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    differing = {key: (tuple(state[key].shape), target[key]) for key in state.keys() & target.keys()}
    differing = {key: shapes for key, shapes in sorted(differing.items()) if shapes[0] != shapes[1]}
    resized = {key: shapes for key, shapes in differing.items() if _load_resized(encoder, key, state[key])}
    mismatched = {key: shapes for key, shapes in differing.items() if key not in resized}
    fitting = {key: value for key, value in state.items() if key in target and key not in differing}
    loaded = [key for key in target if key in fitting or key in resized]

    sizes = {name: parameter.numel() for name, parameter in encoder.named_parameters()}
    filled = sum(sizes.get(key, 0) for key in loaded) / max(sum(sizes.values()), 1)
    report = LoadReport(
        loaded=tuple(loaded),
        missing=tuple(key for key in target if key not in state),
        unexpected=tuple(key for key in state if key not in target),
        mismatched=mismatched,
        resized=resized,
        filled=filled,
    )
    if filled < MIN_FILLED:
        raise CheckpointError(
            f'{path} does not fit the encoder: only {filled:.1%} of its parameters would be filled, '
            f'{MIN_FILLED:.0%} are needed. {_likely_cause(report, encoder)}\n{report.table()}'
        )
    encoder.load_state_dict(fitting, strict=False)
    return report


def _load_resized(encoder: nn.Module, key: str, value: Tensor) -> bool:
    """Let the backbone's own loading hook interpolate a position embedding; False when it has none."""
    if key not in _RESIZED_BY_BACKBONE or value.shape[-1] != encoder.get_parameter(key).shape[-1]:
        return False
    try:
        encoder.load_state_dict({key: value}, strict=False)
    except RuntimeError:  # torch's "size mismatch": no hook changed the shape, or the grid is not square
        return False
    return True


def _likely_cause(report: LoadReport, encoder: nn.Module) -> str:
    if len(report.mismatched) > len(report.missing):
        key, (theirs, ours) = next(iter(report.mismatched.items()))
        return (
            f'Most shapes differ ({key}: {list(theirs)} in the checkpoint, {list(ours)} in the encoder), so '
            'it comes from another size of model: use the config that it was trained with.'
        )
    return (
        f'Most names differ, so it comes from another kind of encoder than {type(encoder).__name__}, or the '
        'prefix is wrong: use the config that it was trained with.'
    )


def _listed(mapping: Mapping, limit: int = 8) -> str:
    names = ', '.join(repr(key) for key in list(mapping)[:limit]) or 'nothing'
    return names + (', ...' if len(mapping) > limit else '')
