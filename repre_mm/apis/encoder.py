"""An encoder to use from Python: embed images, read its levels, reconstruct, hand it on to another library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.models import ClsDataPreprocessor
from torch import Tensor, nn
from torch.utils.data import DataLoader

from repre_mm.apis.graphs import GRAPHS, export_graph
from repre_mm.apis.images import Crops, ImageLike, Images
from repre_mm.checkpoint.export import export_encoder
from repre_mm.evaluation.encoders import RANDOM, EncoderName, load_frozen_encoder
from repre_mm.evaluation.features import FrozenEncoder, extract_features, global_features
from repre_mm.evaluation.loaders import evaluation_pipeline
from repre_mm.evaluation.pretraining import load_repre
from repre_mm.models.backbones import TimmBackbone
from repre_mm.models.necks import sample_levels
from repre_mm.models.taps import LevelTap, encoder_levels
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import eval_mode


class Encoder(BaseModel):
    """A frozen encoder that states what its images need.

    It is an ``nn.Module``: ``encoder(images)`` takes normalised images (B, 3, H, W) and gives vectors (B, C).
    ``timm.data.resolve_model_data_config(encoder)`` reads its size and normalisation, and
    ``mmpretrain.FeatureExtractor(encoder)`` extracts its features from files.

    Args:
        frozen: The encoder with what its images need.
        name: How it was named, for :func:`export` and :meth:`reconstruct`.
        options: Choices of the file's network, as for :func:`load_encoder`.

    Attributes:
        frozen: As the functions of :mod:`repre_mm.evaluation` take it.
        backbone: The encoder alone.
        image_size: Side of its crops, in pixels.
        mean: Per channel, RGB, in units of [0, 255].
        std: Likewise.
        num_features: C, the length of a vector.
        pretrained_cfg: Size and normalisation as timm keeps them, in units of [0, 1].
    """

    def __init__(self, frozen: FrozenEncoder, name: EncoderName, options: dict[str, Any]) -> None:
        preprocessor = ClsDataPreprocessor(mean=list(frozen.mean), std=list(frozen.std), to_rgb=True)
        super().__init__(preprocessor)
        self.frozen = frozen
        self.backbone: nn.Module = frozen.module
        self.image_size, self.mean, self.std = frozen.image_size, tuple(frozen.mean), tuple(frozen.std)
        self.name, self.options = name, options
        blank = torch.zeros(1, 3, self.image_size, self.image_size, device=frozen.device)
        self.num_features: int = global_features(self.backbone, blank).shape[1]
        self.pretrained_cfg = {
            'input_size': (3, self.image_size, self.image_size),
            'mean': tuple(value / 255 for value in self.mean),
            'std': tuple(value / 255 for value in self.std),
            'interpolation': 'bicubic',
            'crop_pct': 224 / 256,
        }
        # Where mmpretrain's inferencers look for the pipeline; they read the image themselves, as BGR.
        self._config = Config({'test_dataloader': {'dataset': {'pipeline': evaluation_pipeline(self.image_size)[1:]}}})
        self.eval()

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = 'tensor') -> Tensor:
        """(B, 3, H, W), normalised by ``mean`` and ``std`` -> (B, C)."""
        return global_features(self.backbone, inputs)

    def extract_feat(self, inputs: Tensor, **kwargs: Any) -> tuple[Tensor]:
        """:meth:`forward` in a tuple, as mmpretrain's ``FeatureExtractor`` calls it."""
        return (self(inputs),)

    def embed(
        self, images: Images, *, batch_size: int = 64, workers: int = 0, progress: bool = True, **decoding: Any
    ) -> Tensor:
        """One vector per image.

        Args:
            images: Paths, places (folders, lists, shards: :func:`repre_mm.datasets.open_images`), PIL images, (H, W, 3)
                uint8 RGB arrays, (3, H, W) tensors (uint8, or float in [0, 1]), or a list of them. Each is resized and
                cropped as in evaluation.
            batch_size: Images per forward.
            workers: Loading processes.
            progress: Show a bar.
            decoding: See :func:`repre_mm.datasets.read_image`.

        Returns:
            (N, C) float32 on the CPU, in the order of the images.

        Raises:
            UserError: There are no images, or one is damaged or of another form.
        """
        loader = DataLoader(Crops(images, self.image_size, **decoding), batch_size, num_workers=workers)
        return extract_features(self.frozen, loader, progress=progress)[0]

    def levels(self, image: ImageLike, num_levels: int = 4) -> list[Tensor]:
        """The maps that the reconstruction branch gets of an image (RePre, Sec. 3.2).

        Args:
            image: See :meth:`embed`.
            num_levels: K.

        Returns:
            K maps (C_k, h_k, w_k) on the CPU, shallow to deep.

        Raises:
            TypeError: The levels of this family are not known.
        """
        view = self.frozen.normalised(self._one(image))
        indices = sample_levels(len(encoder_levels(self.backbone)), num_levels)
        tap = LevelTap()
        with eval_mode(self.backbone), torch.no_grad(), tap.open(self.backbone, indices, view, need_grad=False) as maps:
            self.backbone(view)
        return [maps[index][0].float().cpu() for index in indices]

    def reconstruct(self, image: ImageLike) -> Tensor:
        """The image as the reconstruction branch draws it, of an encoder named by a run or CONFIG CHECKPOINT.

        Args:
            image: See :meth:`embed`.

        Returns:
            (3, H, W) float32 in [0, 1], of the evaluation crop.

        Raises:
            UserError: The training had no such branch, or its checkpoint is not at hand.
        """
        cfg = self.name.config()
        if cfg is None:
            raise UserError(f'{self.name} does not reconstruct: load the encoder from the run of a RePre training')
        model = load_repre(cfg, self.name.weights, trust=self.options.get('trust', False))
        return model.reconstruct(self._one(image))[0].cpu()

    def _one(self, image: ImageLike) -> Tensor:
        """(1, 3, size, size) uint8."""
        crops = Crops(image, self.image_size)
        if len(crops) != 1:
            raise UserError(f'one image is needed, not {len(crops)}')
        return crops[0][0][None]


def load_encoder(
    source: str | os.PathLike | Sequence[str],
    *,
    size: int | None = None,
    device: torch.device | str | None = None,
    network: str | None = None,
    prefix: str | None = None,
    trust: bool = False,
) -> Encoder:
    """Load an encoder by any of its names.

    Args:
        source: The folder of a run; a released file from which the model is recognised; ``'timm:MODEL:FILE'``; a timm
            model by its name, with random weights; two words, ``(CONFIG, CHECKPOINT)``; the name of a config whose
            weights are at hand, ``'repre_simclr_vit-tiny_toy'`` (:func:`repre_mm.checkpoint.zoo.find_weights`);
            ``'hf-hub:USER/NAME'``, or ``'local-dir:DIR'`` in the same format.
        size: Side of the crops in pixels; default: that of the training.
        device: Default: a GPU where there is one.
        network: ``'online'`` or ``'target'``; default: the one that the method's authors evaluate.
        prefix: Where in the file the encoder is, for files that are not known here.
        trust: Unpickle the file; see :func:`repre_mm.checkpoint.read_checkpoint`.

    Raises:
        UserError: It names no encoder.
        repre_mm.checkpoint.CheckpointError: The file is unreadable, or does not fit.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if isinstance(source, str) and source.startswith(('hf-hub:', 'local-dir:')):
        return _from_hub(source, device)
    name = _parse(source)
    options = {'network': network, 'prefix': prefix, 'trust': trust}
    return Encoder(load_frozen_encoder(name, size=size, device=device, **options), name, options)


def _from_hub(source: str, device: torch.device | str) -> Encoder:
    try:
        module = TimmBackbone(source, pretrained=True).eval().requires_grad_(False)
    except (OSError, ValueError, RuntimeError) as error:  # there is no such model, or the Hub cannot be reached
        raise UserError(f'{source}: {str(error).strip().splitlines()[0]}') from error
    facts = module.model.pretrained_cfg
    mean, std = ([255 * value for value in facts[key]] for key in ('mean', 'std'))
    frozen = FrozenEncoder(module.to(device), mean, std, facts['input_size'][-1], source, source, 'the one of the Hub')
    return Encoder(frozen, EncoderName(f'timm:{source}', source), {'network': None, 'prefix': None, 'trust': False})


def _parse(source: str | os.PathLike | Sequence[str]) -> EncoderName:
    if not isinstance(source, (str, os.PathLike)):
        return EncoderName.parse([str(word) for word in source])
    path = Path(source).expanduser()
    if isinstance(source, str) and not path.exists() and timm.is_model(source):
        return EncoderName(f'timm:{source}', RANDOM)
    return EncoderName.parse([str(path) if path.exists() else str(source)])


def export(encoder: Encoder, out: str | os.PathLike, to: str = 'mmpretrain') -> dict[str, Any]:
    """Write an encoder for another library.

    Args:
        encoder: From :func:`load_encoder`.
        out: A file; or a folder, in which it is named after the library.
        to: A library (``repre_mm.checkpoint.export.TARGETS``), ``'onnx'`` or ``'torch-export'``.

    Returns:
        For a library what is noted in the file, see :func:`repre_mm.checkpoint.export.export_encoder`. For a graph the
        names of its input and output, how to normalise, and the largest ``difference`` from the encoder.

    Raises:
        UserError: It has random weights.
        repre_mm.checkpoint.CheckpointError: The library has no such encoder, or ``out`` cannot be written.
    """
    if encoder.name.weights == RANDOM:
        raise UserError(f'{encoder.name} has random weights: there is nothing to export')
    if to not in GRAPHS and not Path(encoder.name.weights).is_file():
        raise UserError(f'{encoder.name.weights} is no file: only a graph (onnx, torch-export) can be made of it')
    out = Path(out).expanduser()
    if out.is_dir() or not out.suffix:
        out.mkdir(parents=True, exist_ok=True)
        out /= f'encoder_{to}{GRAPHS.get(to, ".safetensors" if to == "safetensors" else ".pth")}'
    if to in GRAPHS:
        difference = export_graph(encoder.backbone, out, to, encoder.image_size)
        side = encoder.image_size
        return {
            'input': f'images (B, 3, {side}, {side}) float32',
            'output': f'vectors (B, {encoder.num_features})',
            'mean': encoder.mean,
            'std': encoder.std,
            'difference': difference,
        }
    chosen = encoder.name.network(**encoder.options)
    return export_encoder(encoder.name.weights, out, to, trust=encoder.options['trust'], prefix=chosen.prefix)
