"""Checks of a run's set-up that need the model and the optimizer together."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from repre_mm.models.losses import UncertaintyWeighting
from repre_mm.registry import HOOKS


@HOOKS.register_module()
class WeightingGuardHook(Hook):
    """Refuse weight decay on the learned log-variances: it would pull both loss weights back to 1."""

    def before_train(self, runner: Runner) -> None:
        """Check the optimizer's groups.

        Raises:
            ValueError: A group that holds log-variances has weight decay.
        """
        guarded = {id(m.log_vars) for m in runner.model.modules() if isinstance(m, UncertaintyWeighting)}
        for group in runner.optim_wrapper.param_groups:
            if group.get('weight_decay', 0) and any(id(p) in guarded for p in group['params']):
                raise ValueError(
                    'the log-variances of the loss weighting have weight decay '
                    f'{group["weight_decay"]}. Add to the config: optim_wrapper=dict(paramwise_cfg='
                    "dict(custom_keys={'loss_weighting': dict(decay_mult=0.)}))"
                )
