"""Check combinations of model and optimizer settings when a training starts."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import MoCoV3, SimCLR
from torch.nn.modules.batchnorm import _BatchNorm

from repre_mm.models.losses import UncertaintyWeighting
from repre_mm.registry import HOOKS


@HOOKS.register_module()
class WeightingGuardHook(Hook):
    """Refuse what breaks uncertainty weighting: weight decay on the log-variances, and negative losses.

    Weight decay would pull both loss weights back to 1; the logarithm of a negative loss is unbounded.

    Args:
        interval: Steps between two looks at the losses; each look waits for the device.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Check the optimizer's groups.

        Raises:
            ValueError: A group that holds log-variances has weight decay.
        """
        self._weightings = [m for m in runner.model.modules() if isinstance(m, UncertaintyWeighting)]
        guarded = {id(m.log_vars) for m in self._weightings}
        for group in runner.optim_wrapper.param_groups:
            if group.get('weight_decay', 0) and any(id(p) in guarded for p in group['params']):
                raise ValueError(
                    'the log-variances of the loss weighting have weight decay '
                    f'{group["weight_decay"]}. Add to the config: optim_wrapper=dict(paramwise_cfg='
                    "dict(custom_keys={'loss_weighting': dict(decay_mult=0.)}))"
                )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Look at the losses on schedule.

        Raises:
            ValueError: One was negative; see :meth:`repre_mm.models.UncertaintyWeighting.check_positive`.
        """
        if self.every_n_train_iters(runner, self.interval):
            for weighting in self._weightings:
                weighting.check_positive()


@HOOKS.register_module()
class AccumulationGuardHook(Hook):
    """Refuse to accumulate gradients where a loss compares the images of one forward with each other.

    SimCLR and MoCo v3 take their negatives from the forward's own batch, so N accumulated batches of B images are not a
    batch of N * B: each image meets B - 1 others, not N * B - 1. With the other methods only BatchNorm sees a
    difference, which a warning says.

    Args:
        allow: Accumulate all the same, with a warning.
    """

    def __init__(self, allow: bool = False) -> None:
        self.allow = allow

    def before_train(self, runner: Runner) -> None:
        """Look at the model and at ``optim_wrapper.accumulative_counts``.

        Raises:
            ValueError: They do not go together, and ``allow`` is off.
        """
        count = runner.optim_wrapper._accumulative_counts
        methods = [type(module).__name__ for module in runner.model.modules() if isinstance(module, (SimCLR, MoCoV3))]
        if count == 1:
            return
        if not methods:
            norms = sum(isinstance(module, _BatchNorm) for module in runner.model.modules())
            if norms:
                runner.logger.warning(
                    f'optim_wrapper.accumulative_counts={count}: each of the {count} batches is normalised by itself '
                    f'in the {norms} BatchNorm layers of this model, so the step is not quite one of a batch {count} '
                    'times as large'
                )
            return
        problem = (
            f'optim_wrapper.accumulative_counts={count} with {methods[0]}: its negatives are the other images of the '
            f'same forward, so {count} accumulated batches are not one batch {count} times as large'
        )
        if not self.allow:
            raise ValueError(
                f'{problem}. For more negatives use more processes, which share theirs, or a larger batch with '
                'gradient checkpointing (default_hooks.step.checkpoint=True); to accumulate all the same, set '
                'default_hooks.accumulation.allow=True'
            )
        runner.logger.warning(problem)
