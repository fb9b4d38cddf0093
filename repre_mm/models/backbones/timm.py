"""Any timm model as an encoder: a vector for the contrastive neck, levels for RePre."""

from __future__ import annotations

import difflib
from typing import Any

import timm
from mmengine.model import BaseModule
from torch import Tensor, nn

from repre_mm.models.taps import EncoderLevels, tokens_to_map
from repre_mm.registry import MODELS
from repre_mm.utils.errors import UserError

# Stride of the finest map that RePre decodes: the paper's pyramids start there, and the stride-2 map of a convolutional
# stem would make the decoder four times as expensive.
FINEST_STRIDE = 4


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A timm model without its classifier.

    The timm model is the submodule ``model``: checkpoints hold timm's own keys under ``backbone.model.``. timm
    initialises it. The output is a pooled vector, so mmpretrain's necks take ``with_avg_pool=False``.

    Args:
        model_name: A name from ``timm.list_models()``, with or without a pretrained tag (``'name.tag'``).
        init_cfg: MMEngine's: a ``Pretrained`` one with ``prefix='backbone.'`` reads a training checkpoint.
        **kwargs: To ``timm.create_model``: ``drop_path_rate``, ``img_size``, ``dynamic_img_size=True`` (ViT and Swin
            on crops of any size, as DINO's), ``pretrained=True`` (downloads), and the model's own (``depth``, ...).

    Attributes:
        model: The timm model.
        options: Those of ``timm.create_model``.
        embed_dims: C, the width of the vector.

    Raises:
        ValueError: timm does not know the name or its tag, or the model does not take one of the options.
    """

    def __init__(
        self,
        model_name: str,
        init_cfg: dict | list[dict] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        self.model_name = model_name
        self.options = kwargs
        self.model = _create(model_name, {**kwargs, 'num_classes': 0})
        self.model.is_init = True  # MMEngine then skips the child's init_weights()
        self.embed_dims: int = self.model.head_hidden_size

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(B, 3, H, W) -> a tuple with (B, C), what the model's own classifier would get (class token or pooled).

        Raises:
            ValueError: The model refuses the size, or is told not to pool.
        """
        try:
            vector = self.model(x)
        except AssertionError as error:  # how timm's patch embeddings check the size
            raise UserError(
                f'timm model {self.model_name!r} refuses crops of {x.shape[-2]} x {x.shape[-1]} pixels: {error} '
                'Choose another crop, or set in the backbone dynamic_img_size=True (any size) or img_size=... (one)'
            ) from error
        if vector.ndim != 2:
            raise UserError(
                f'timm model {self.model_name!r} gave {list(vector.shape)} where (B, C) is needed: '
                "leave global_pool out, or set it to 'avg' or 'token'"
            )
        return (vector,)

    def encoder_levels(self) -> EncoderLevels:
        """Describe the levels: all blocks of an isotropic model, the last output of each resolution of a pyramid.

        They are what ``model.forward_intermediates(x, norm=False)`` gives.

        Raises:
            TypeError: The model does not describe its levels.
        """
        infos = _levels(self.model, self.model_name)
        strides = [info['reduction'] for info in infos]
        widths = [info['num_chs'] for info in infos]
        isotropic = strides[0] == strides[-1]
        channels_last = getattr(self.model, 'output_fmt', 'NCHW') == 'NHWC'
        # Some models add their class tokens after the blocks, or half-way through them.
        extras = {0, getattr(self.model, 'num_prefix_tokens', 0)}

        def to_map(output: Any, grid: tuple[int, int]) -> Tensor:
            if isinstance(output, Tensor) and output.ndim == 4:
                maps = output.permute(0, 3, 1, 2) if channels_last else output  # (B, h, w, C) -> (B, C, h, w)
                if maps.shape[1] in widths:
                    return maps
            # Pyramids of tokens keep them in orders of their own (windows, masked units).
            elif isinstance(output, Tensor) and isotropic and output.shape[1] - grid[0] * grid[1] in extras:
                return tokens_to_map(output, grid)
            shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(
                f'a level of timm model {self.model_name!r} is {shape}, which RePre cannot lay out as a map of '
                f'{grid[0]} x {grid[1]} cells. Switch off patch_drop_rate and dynamic_img_pad, choose another family '
                '(ViT, Swin, ConvNeXt, PVTv2, ResNet, ...), or subclass TimmBackbone with your own encoder_levels()'
            )

        modules = [self.model.get_submodule(info['module']) for info in infos]
        return EncoderLevels(modules, widths, [(stride, stride) for stride in strides], to_map)


def _create(name: str, kwargs: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, **kwargs)
    except RuntimeError as error:
        if not str(error).startswith(('Unknown model', 'Invalid pretrained tag')):
            raise
        near = difflib.get_close_matches(name, timm.list_models() + timm.list_pretrained(), n=3)
        hint = f'Did you mean {" or ".join(near)}?' if near else "timm.list_models('*part*') lists the names"
        raise UserError(f'model_name={name!r}, timm {timm.__version__}: {str(error).rstrip(".")}. {hint}') from error
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        raise UserError(
            f'timm model {name!r} does not take one of its options: {error}. Leave it out (convolutional models need '
            'no img_size: they take any size)'
        ) from error


def _levels(model: nn.Module, name: str) -> list[dict[str, Any]]:
    """The entries of ``feature_info`` that are levels, shallow to deep."""
    infos = list(getattr(model, 'feature_info', None) or [])
    named = dict(model.named_modules())
    if not infos or any(info.get('hook_type', 'forward') != 'forward' or info['module'] not in named for info in infos):
        raise TypeError(
            f'timm model {name!r} does not say which of its modules give its levels (feature_info): choose another '
            'one, or subclass TimmBackbone with your own encoder_levels()'
        )
    if infos[0]['reduction'] == infos[-1]['reduction']:
        return infos
    last_of_stride = {info['reduction']: info for info in infos if info['reduction'] >= FINEST_STRIDE}
    return list(last_of_stride.values())
