"""Check combinations of model and optimizer settings when a training starts."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import MoCoV3, SimCLR

from repre_mm.models.losses import UncertaintyWeighting
from repre_mm.registry import HOOKS


@HOOKS.register_module()
class WeightingGuardHook(Hook):
    """Refuse what breaks uncertainty weighting: weight decay on the log-variances, and negative losses.

    Weight decay would pull both loss weights back to 1; the logarithm of a negative loss is unbounded.

    Args:
        interval: Steps between two checks of the losses; each waits for the device.
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
        """Check the losses on schedule.

        Raises:
            ValueError: One was negative; see :meth:`repre_mm.models.UncertaintyWeighting.check_positive`.
        """
        if self.every_n_train_iters(runner, self.interval):
            for weighting in self._weightings:
                weighting.check_positive()


@HOOKS.register_module()
class AccumulationGuardHook(Hook):
    """Refuse to accumulate gradients if the loss compares the images of one forward with each other.

    SimCLR and MoCo v3 take their negatives from the forward's own batch: in N accumulated batches of B images each
    image meets B - 1 others, not N * B - 1.

    Args:
        allow: Accumulate all the same, with a warning.
    """

    def __init__(self, allow: bool = False) -> None:
        self.allow = allow

    def before_train(self, runner: Runner) -> None:
        """Compare the model with ``optim_wrapper.accumulative_counts``.

        Raises:
            ValueError: They do not go together, and ``allow`` is off.
        """
        count = runner.optim_wrapper._accumulative_counts
        method = next((type(m).__name__ for m in runner.model.modules() if isinstance(m, (SimCLR, MoCoV3))), None)
        if count == 1 or method is None:
            return
        problem = (
            f'optim_wrapper.accumulative_counts={count} with {method}: its negatives are the other images of the '
            f'same forward, so {count} accumulated batches are not one batch {count} times as large'
        )
        if not self.allow:
            raise ValueError(
                f'{problem}. For more negatives use more processes, which share theirs, or a larger batch with '
                'gradient checkpointing (default_hooks.step.checkpoint=True); to accumulate all the same, set '
                'default_hooks.accumulation.allow=True'
            )
        runner.logger.warning(problem)
