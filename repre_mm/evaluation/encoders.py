"""Name, build and fill an encoder, in the same way on every command line.

========================================  ======================================================================
``CONFIG CHECKPOINT``                     a config of this project, and a training checkpoint or a released file
``CONFIG random``                         the config's own initialisation
``timm:MODEL[,OPTION=VALUE...]:FILE``     a released file, through the timm model that it is of
``timm:MODEL[,OPTION=VALUE...]``          that model with random weights
``FILE``                                  a released file from which the model is recognised
``RUN``                                   the work dir of a training: its config and newest sound checkpoint
``NAME``                                  a config of the package whose weights are at hand; see
                                          :func:`repre_mm.checkpoint.zoo.find_weights`
========================================  ======================================================================

``CONFIG:CHECKPOINT`` is the first in one word.
"""

from __future__ import annotations

import ast
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger, print_log
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from repre_mm.checkpoint import build_encoder, load_pretrained
from repre_mm.checkpoint.releases import Release
from repre_mm.checkpoint.saving import newest_checkpoint
from repre_mm.checkpoint.zoo import find_weights
from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.evaluation.loaders import EvaluationError
from repre_mm.evaluation.networks import Network, choose_network
from repre_mm.models.backbones import TimmBackbone
from repre_mm.utils.package import load_config

#: Instead of a file: the model's own random initialisation.
RANDOM = 'random'

_TIMM = 'timm:'
_GRAMMAR = 'CONFIG CHECKPOINT, CONFIG random, timm:MODEL[,OPTION=VALUE...][:FILE], FILE, RUN or NAME'


@dataclass(frozen=True)
class EncoderName:
    """An encoder as the command line names it.

    Attributes:
        model: A config or its path, ``'timm:MODEL,...'``, or None to recognise the model from the file.
        weights: A file, or ``'random'``.
    """

    model: Config | str | None
    weights: str

    @classmethod
    def parse(cls, words: Sequence[str]) -> EncoderName:
        """Read one or two words; see the top of this file.

        Raises:
            EvaluationError: They do not name an encoder.
            repre_mm.checkpoint.CheckpointError: They name a config of the package whose weights are not at hand.
        """
        first, *rest = words
        if first.startswith(_TIMM) and not rest:
            model, colon, file = first.removeprefix(_TIMM).partition(':')
            if model and bool(colon) == bool(file):
                return cls(f'{_TIMM}{model}', file or RANDOM)
        elif len(rest) == 1 and first and rest[0]:
            return cls(first, rest[0])
        elif not rest and '.py:' in first:
            config, _, file = first.partition('.py:')
            if config and file:
                return cls(f'{config}.py', file)
        elif first and not rest and Path(first).is_dir():
            return cls(*_of_run(Path(first)))
        elif not rest and first.endswith('.py'):
            raise EvaluationError(f'{first} is a config: name its checkpoint too, or the word {RANDOM!r}')
        elif not rest and first not in ('', RANDOM):
            named = None if Path(first).expanduser().exists() else find_weights(first)
            return cls(*(named or (None, first)))
        raise EvaluationError(f'{" ".join(words)!r} does not name an encoder: write {_GRAMMAR}')

    def __str__(self) -> str:
        model = self.model.filename if isinstance(self.model, Config) else self.model
        return ' '.join(filter(None, (model, self.weights)))

    @property
    def config_path(self) -> str | None:
        """The path of the config, if one is named so."""
        return self.model if isinstance(self.model, str) and not self.model.startswith(_TIMM) else None

    @property
    def file(self) -> str:
        """The file of weights; random weights, which have none, are an :class:`EvaluationError`."""
        if self.weights == RANDOM:
            raise EvaluationError(f'{self}: name a file of weights')
        return self.weights

    def config(self) -> Config | None:
        """Read the config, if one is named.

        Raises:
            UserError: There is no such file.
        """
        if isinstance(self.model, Config):
            return self.model
        return load_config(self.config_path) if self.config_path else None

    def network(self, *, prefix: str | None = None, network: str | None = None, trust: bool = False) -> Network:
        """Choose the network of the file, see :func:`choose_network`."""
        if self.weights != RANDOM:
            return choose_network(self.weights, config=self.config(), prefix=prefix, network=network, trust=trust)
        if prefix is not None or network is not None:
            raise EvaluationError('--prefix and --encoder choose from a checkpoint: random weights have neither')
        return Network(None, 'random weights')


def load_frozen_encoder(
    name: EncoderName,
    *,
    size: int | None = None,
    device: torch.device | str = 'cpu',
    seed: int = 0,
    prefix: str | None = None,
    network: str | None = None,
    trust: bool = False,
    **backbone_options: Any,
) -> FrozenEncoder:
    """Build a named encoder, fill it, put it in evaluation mode without gradients, and log which network it is.

    Images are normalised as the config says; for a released file as its authors do; for another file of a timm model by
    the pretrained tag in the model's name, or else by ImageNet's mean and deviation.

    Args:
        name: See :meth:`EncoderName.parse`.
        size: Side of the images in pixels; default: the config's ``image_size``, or the timm model's.
        device: For the encoder.
        seed: Of random weights.
        prefix: See :func:`choose_network`.
        network: Likewise.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.
        **backbone_options: Settings that the encoder is built with, such as ``drop_path_rate``.

    Raises:
        UserError: There is no such config or network, or the config lacks an encoder, normalisation or size.
        repre_mm.checkpoint.CheckpointError: The file is unreadable or does not fit.
        ValueError: timm knows no such model or option.
    """
    cfg = name.config()
    chosen = name.network(prefix=prefix, network=network, trust=trust)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if cfg is not None:
            module, mean, std = _from_config(cfg, chosen.release, backbone_options, name.weights == RANDOM)
            size, called = size or cfg.get('image_size'), Path(cfg.filename or 'config').name
        else:
            called = name.model or _recognised(name.weights, chosen.release)
            module, mean, std, size = _from_timm(called, chosen.release, backbone_options, size, seed)
    if not size:
        raise EvaluationError(f'{called} does not set image_size, so the crop is unknown: give --size PIXELS')
    if name.weights != RANDOM:
        report = load_pretrained(module, name.weights, prefix=chosen.prefix, trust=trust)
        level = logging.INFO if report.complete else logging.WARNING
        print_log(f'{name.weights}: {report.table()}', logger='current', level=level)
    print_log(f'encoder: {chosen.reason}', logger='current')
    module.eval()
    module.requires_grad_(False)
    data_root = None if cfg is None else cfg.get('data_root')
    weights = Path(name.weights).name
    return FrozenEncoder(module.to(device), mean, std, size, called, weights, chosen.reason, data_root)


def _from_config(
    cfg: Config, release: Release | None, options: dict[str, Any], initialise: bool
) -> tuple[nn.Module, list[float], list[float]]:
    """Build the encoder of a config; also returns mean and std."""
    module = build_encoder(cfg, **options)
    source, model = cfg.filename or 'the config', cfg.model
    # In the order in which training takes them: the algorithm's own, then the wrapper's, then the Runner's.
    preprocessors = [part.get('data_preprocessor') for part in (model.get('algorithm') or model, model, cfg)]
    preprocessor = next((part for part in preprocessors if part), {})
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    if release is not None and 'state_dict.backbone.' not in release.prefixes.values():
        mean, std = release.mean, release.std
    if mean is None or std is None:
        raise EvaluationError(f'{source}: no mean and std in data_preprocessor, so the normalisation is unknown')
    if initialise:
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel(logging.WARNING)  # else it logs how each tensor was initialised, hundreds of lines
        module.init_weights()
        logger.setLevel(level)
    return module, list(mean), list(std)


def _recognised(path: str, release: Release | None) -> str:
    if release is None:
        raise EvaluationError(
            f'{path} does not tell its model: name a config (CONFIG CHECKPOINT) or a timm model (timm:MODEL:FILE)'
        )
    if release.architecture is None:
        where = f'{path} ({release.method})'
        raise EvaluationError(
            f'{where} is of a size that timm has no name for: put your model for NAME in {release.timm}:FILE'
        )
    return release.timm


def _from_timm(
    text: str, release: Release | None, options: dict[str, Any], size: int | None, seed: int
) -> tuple[nn.Module, list[float], list[float], int]:
    name, named_options = timm_model(text)
    # Options from the file's tensors, unless the user names another model or gives others.
    recognised = release.options if release is not None and release.architecture == name.partition('.')[0] else {}
    options = {**recognised, **named_options, **options}
    module = TimmBackbone(name, **options)
    own = options.get('img_size') or module.model.pretrained_cfg['input_size'][-1]
    if size not in (None, own) and 'img_size' in inspect.signature(type(module.model).__init__).parameters:
        torch.manual_seed(seed)
        module = TimmBackbone(name, **{**options, 'img_size': size})
    size = size or own
    if release is not None:
        return module, list(release.mean), list(release.std), size
    tag = timm.get_pretrained_cfg(name) if '.' in name else None
    mean, std = (tag.mean, tag.std) if tag else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return module, [255 * value for value in mean], [255 * value for value in std], size


def _of_run(folder: Path) -> tuple[str | None, str]:
    """Config and newest sound checkpoint of a run."""
    point = newest_checkpoint(folder)
    if point is None:
        raise EvaluationError(f'{folder} holds no checkpoint of a training: name the work dir of one')
    config = max(folder.glob('*.py'), key=lambda path: path.stat().st_mtime, default=None)
    return config and str(config), str(point.path)


def timm_model(text: str) -> tuple[str, dict[str, Any]]:
    """Split ``timm:MODEL,OPTION=VALUE`` into the model's name and its options.

    Raises:
        EvaluationError: An option has no value.
    """
    name, *pairs = text.removeprefix(_TIMM).split(',')
    options = {}
    for pair in pairs:
        key, equals, value = pair.partition('=')
        if not equals:
            raise EvaluationError(f'{text}: {pair!r} is no OPTION=VALUE')
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return name, options
