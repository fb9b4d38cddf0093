"""Layer-wise learning-rate decay: the shallower a block of the encoder, the smaller its learning rate."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from repre_mm.engine.optim.blocks import encoder_blocks
from repre_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with ``paramwise_cfg.layer_decay_rate``, as in the fine-tuning of BEiT (arXiv 2106.08254).

    Of L blocks the i-th, from 1, gets the learning rate times ``layer_decay_rate ** (L + 1 - i)``, and what comes
    before the blocks (patch and position embedding) counts as block 0. The final norm, heads and all parameters outside
    the encoder keep their rate. Unlike mmpretrain's ``LearningRateDecayOptimWrapperConstructor`` this one keeps
    ``lr_mult``, which the log-variances of the loss weighting need, and takes any encoder that RePre takes.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Add the parameters of a module, as mmengine does, then scale those of the encoder.

        Raises:
            ValueError: ``layer_decay_rate`` is not set, or not in (0, 1].
            TypeError: The encoder is of no known family.
        """
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if rate is None or not 0 < rate <= 1:
            raise ValueError(f'optim_wrapper.paramwise_cfg.layer_decay_rate={rate} must lie in (0, 1]')
        depths = layer_depths(module.backbone)
        last = max(depths.values())
        for group in params:
            (parameter,) = group['params']
            scale = rate ** (last - depths.get(parameter, last))
            group['lr'] = group.get('lr', self.base_lr) * scale


def layer_depths(backbone: nn.Module) -> dict[nn.Parameter, int]:
    """Return the depth of each parameter of an encoder: 0 before its L blocks, 1 to L in them, L + 1 behind them.

    Parameters between two blocks, such as the patch merging of Swin, belong to the block before them.

    Raises:
        TypeError: The encoder is of no known family.
    """
    blocks = encoder_blocks(backbone)
    block_of = {parameter: i for i, block in enumerate(blocks, start=1) for parameter in block.parameters()}
    depths: dict[nn.Parameter, int] = {}
    depth = 0
    for parameter in backbone.parameters():
        depth = block_of.get(parameter, depth)
        depths[parameter] = depth if parameter in block_of or depth < len(blocks) else len(blocks) + 1
    return depths
