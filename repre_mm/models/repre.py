"""RePre: any contrastive method plus a branch that reconstructs view 1 (RePre, Algorithm 1).

One training step: open a tap on the online encoder, run the wrapped method as it is, decode the levels that the tap
heard, join both losses.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import Tensor, nn

from repre_mm.models.taps import LevelTap, encoder_levels
from repre_mm.registry import MODELS
from repre_mm.utils.modules import eval_mode

# Widths that keep the branch within 6 % of the multiply-adds in every configuration of the paper. A pyramid's shallow
# maps have 16 times the cells of a ViT's, so its levels are narrower.
WIDTH_ISOTROPIC, WIDTH_PYRAMID = 128, 64

_ALGORITHM_PREFIX = 'algorithm.'


@MODELS.register_module()
class RePreAlgorithm(BaseModel):
    """Wrap a self-supervised algorithm and add the reconstruction branch.

    The wrapped algorithm is not changed: it makes its own encoder passes, and the branch listens to the one that sees
    view 1 (``inputs[0]``) with gradients. Checkpoints keep the algorithm's own keys (``backbone.``, ``neck.``, ...) and
    add ``repre_neck.``, ``repre_decoder.`` and ``loss_weighting.``, so
    ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` reads the encoder anywhere.

    Args:
        algorithm: A self-supervised algorithm of mmpretrain that compares views, or its config.
        neck: Config of the neck; default :class:`RePreNeck`, with widths that fit the backbone.
        decoder: Config of the decoder; default :class:`RePreDecoder`, with widths and patch size that fit.
        loss_weighting: Config of the weighting; default :class:`UncertaintyWeighting`.
        data_preprocessor: For an algorithm that names none itself. Its mean and std also undo the normalisation for the
            reconstruction target.

    Raises:
        KeyError: ``algorithm.type`` is not registered.
        ValueError: The parts do not fit, such as more levels than the encoder has.
    """

    def __init__(
        self,
        algorithm: dict | BaseSelfSupervisor,
        neck: dict | None = None,
        decoder: dict | None = None,
        loss_weighting: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        if isinstance(algorithm, dict):
            algorithm = _build_algorithm(algorithm, data_preprocessor)
        super().__init__(data_preprocessor=algorithm.data_preprocessor, init_cfg=init_cfg)
        self.algorithm = algorithm
        levels = encoder_levels(algorithm.backbone)
        pyramid = levels.strides[0] != levels.strides[-1]
        neck = {
            'type': 'RePreNeck',
            'in_channels': list(levels.channels),
            'out_channels': WIDTH_PYRAMID if pyramid else WIDTH_ISOTROPIC,
            **(neck or {}),
        }
        # The branch must not move the random stream that the plain algorithm would see. Its parts may be named without
        # their scope.
        with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope('repre_mm'):
            self.repre_neck = MODELS.build(neck)
            decoder = {
                'type': 'RePreDecoder',
                'in_channels': list(self.repre_neck.out_channels),
                'patch_size': levels.strides[self.repre_neck.indices[0]],
                'window_size': 7 if pyramid else None,
                **(decoder or {}),
            }
            self.repre_decoder = MODELS.build(decoder)
            self.loss_weighting = MODELS.build({'type': 'UncertaintyWeighting', **(loss_weighting or {})})
        self.tap = LevelTap()
        self.register_state_dict_post_hook(_to_plain_keys)
        self.register_load_state_dict_pre_hook(_from_plain_keys)

    def __getattr__(self, name: str) -> Any:
        """Fall back to the wrapped algorithm's public attributes (``backbone``, ``momentum_encoder``, ``queue``)."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            algorithm = self.__dict__.get('_modules', {}).get('algorithm')
            if name.startswith('_') or not hasattr(algorithm, name):
                raise
            return getattr(algorithm, name)

    def init_weights(self) -> None:
        """Initialise the algorithm as it would be without the branch, then the branch on a stream of its own."""
        self.algorithm.init_weights()
        with torch.random.fork_rng(devices=[]):
            super().init_weights()

    def forward(self, inputs: Tensor | list[Tensor], data_samples: list | None = None, mode: str = 'tensor'):
        """Compute the losses of a list of views (``mode='loss'``), or the encoder's features of one batch."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        return self.algorithm(inputs, data_samples, mode)

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """One step of RePre (Algorithm 1).

        Args:
            inputs: The views, normalised, each (B, 3, H, W); ``inputs[0]`` is reconstructed.
            data_samples: Passed to the wrapped algorithm.

        Returns:
            ``loss`` (the total, which is minimised), ``contrast`` and ``recon_l1`` (raw, detached),
            ``weight_contrast`` and ``weight_recon``, and for the log the algorithm's other outputs.

        Raises:
            TypeError: There is one tensor in the place of the views.
            ValueError: View 1 is not divisible by the patch size.
            RuntimeError: The algorithm never passes view 1 through its online encoder with gradients.
        """
        if isinstance(inputs, Tensor):
            raise TypeError(
                f'{type(self.algorithm).__name__} got one tensor, not a list of views: RePre wraps algorithms that '
                'compare views of an image, not those that mask it (docs/algorithms.md)'
            )
        view = inputs[0]
        self._check_divisible(view)
        with self.tap.open(self.backbone, self.repre_neck.indices, view) as levels:
            outputs = self.algorithm(inputs, data_samples, mode='loss')
        if not levels:
            raise RuntimeError(
                f'{type(self.algorithm).__name__} never passed view 1 (inputs[0]) unchanged through '
                'its online encoder `backbone` with gradients on, so there is nothing to decode'
            )
        contrast, _ = self.algorithm.parse_losses(outputs)
        maps = self.repre_neck([levels[index] for index in self.repre_neck.indices])
        recon = self.repre_decoder.loss(maps, self.pixels(view))
        total, weights = self.loss_weighting(contrast, recon)
        joined = {'loss': total, 'contrast': contrast.detach(), 'recon_l1': recon.detach(), **weights}
        return {**outputs, **joined}

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take ``loss`` as the total; MMEngine would add the algorithm's own losses, which are part of it."""
        _, logged = super().parse_losses(losses)
        return losses['loss'], logged

    def pixels(self, view: Tensor) -> Tensor:
        """Undo the preprocessor's normalisation: (B, 3, H, W) -> the same view in [0, 1]."""
        preprocessor = self.data_preprocessor
        if getattr(preprocessor, '_enable_normalize', False):
            view = view * preprocessor.std + preprocessor.mean
        return view / 255

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Encode and decode images in evaluation mode: (B, 3, H, W) -> the same shape, float32 in [0, 1].

        Args:
            images: RGB (the channel order of training), float in [0, 1] or uint8.

        Raises:
            ValueError: A size that the patch does not divide, or float values beyond 1.
        """
        images = images.to(next(self.parameters()).device)
        if images.dtype == torch.uint8:
            images = images / 255
        elif images.max() > 1 + 1e-3:
            raise ValueError(
                f'float images must lie in [0, 1]; the largest value is {images.max().item():.1f}. '
                'Divide by 255, or pass uint8'
            )
        self._check_divisible(images)
        view = images.float() * 255
        if getattr(self.data_preprocessor, '_enable_normalize', False):
            view = (view - self.data_preprocessor.mean) / self.data_preprocessor.std
        indices = self.repre_neck.indices
        with eval_mode(self), self.tap.open(self.backbone, indices, view, need_grad=False) as levels:
            self.backbone(view)
        maps = self.repre_neck([levels[index] for index in indices])
        return self.repre_decoder(maps).float().clamp(0, 1)

    def _check_divisible(self, view: Tensor) -> None:
        height, width = view.shape[-2:]
        rows, columns = self.repre_decoder.patch_size
        if height % rows or width % columns:
            raise ValueError(
                f'the input of {height} x {width} pixels is not divisible by the patch of {rows} x '
                f'{columns}: choose a crop of {height // rows * rows or rows} x '
                f'{width // columns * columns or columns} pixels, or another patch size'
            )


def _build_algorithm(cfg: dict, data_preprocessor: dict | nn.Module | None) -> BaseSelfSupervisor:
    cfg = dict(cfg)
    if data_preprocessor is not None and cfg.get('data_preprocessor') is None:
        cfg['data_preprocessor'] = data_preprocessor
    # An algorithm's parts are named in mmpretrain's scope, also where RePre is built from another.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MMPRETRAIN_MODELS.build(cfg)


def _to_plain_keys(module: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """Save the wrapped algorithm under its own keys, in their order: 'algorithm.backbone.x' -> 'backbone.x'."""
    old = prefix + _ALGORITHM_PREFIX
    for mapping in (state_dict, getattr(state_dict, '_metadata', {})):  # tensors, and versions of the modules
        items = [(prefix + k[len(old) :] if k.startswith(old) else k, v) for k, v in mapping.items()]
        mapping.clear()
        mapping.update(items)


def _from_plain_keys(module: nn.Module, state_dict: dict, prefix: str, *_) -> None:
    """Load what :func:`_to_plain_keys` saved, or a checkpoint of the plain algorithm."""
    own = tuple(prefix + name + '.' for name in module._modules)
    for key in [key for key in state_dict if key.startswith(prefix) and not key.startswith(own)]:
        state_dict[prefix + _ALGORITHM_PREFIX + key[len(prefix) :]] = state_dict.pop(key)
