"""Update the target networks, once after each optimizer step."""

from __future__ import annotations

import math

from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from mmpretrain.models.utils import CosineEMA as UpstreamCosineEMA
from torch import nn

from repre_mm.models.selfsup.ema import CosineEMA
from repre_mm.registry import HOOKS


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Update every target network right after the optimizer step, for any method.

    mmpretrain's MoCo v3, BYOL and MoCo update theirs inside the forward: on every micro-batch of gradient
    accumulation, on a schedule that turns back up beyond its end, with a device sync per parameter, and one step behind
    in the checkpoint. Their averages are replaced by :class:`~repre_mm.models.selfsup.ema.CosineEMA` around the same
    tensors, with the same checkpoint keys.

    The schedule spans the optimizer steps of the whole run. A resumed run continues it; any other starts it at 0, with
    the target equal to the online network, also if ``load_from`` brought weights.
    """

    priority = 'VERY_HIGH'  # before anything that looks at the model: checkpoints, scores, pictures

    def before_train(self, runner: Runner) -> None:
        """Take over the moving averages.

        Raises:
            ValueError: An average has settings that this hook does not support.
        """
        take_over_averages(runner.model)
        self._targets = [module for module in runner.model.modules() if isinstance(module, CosineEMA)]
        updates = math.ceil(runner.max_iters / runner.optim_wrapper._accumulative_counts)
        for target in self._targets:
            target.max_steps = updates
            if runner.iter == 0:
                target.reset()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        """Update after each optimizer step, not after a forward that only accumulated gradients."""
        if runner.optim_wrapper.should_update():
            for target in self._targets:
                target.step()


def take_over_averages(model: nn.Module) -> None:
    """Replace mmpretrain's and mmengine's moving averages in a model by ours, around the same tensors.

    Raises:
        ValueError: An average has ``interval`` or ``update_buffers`` set, which ours lacks.
    """
    for name, average in list(model.named_modules()):
        if type(average) not in (UpstreamCosineEMA, ExponentialMovingAverage):
            continue
        if average.interval != 1 or average.update_buffers:
            raise ValueError(
                f'{name}: a moving average with interval={average.interval} and '
                f'update_buffers={average.update_buffers} is not supported by repre_mm.MomentumUpdateHook; '
                'use 1 and False, or set default_hooks.momentum=None'
            )
        end = average.end_momentum if isinstance(average, UpstreamCosineEMA) else average.momentum
        parent, _, attribute = name.rpartition('.')
        ours = CosineEMA(average.module, average.momentum, end, average.steps)
        setattr(model.get_submodule(parent), attribute, ours)
