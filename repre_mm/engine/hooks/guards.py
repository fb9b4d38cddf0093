"""Check combinations of model and optimizer settings when a training starts."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import MoCoV3, SimCLR

from repre_mm.models.losses import UncertaintyWeighting
from repre_mm.registry import HOOKS


@HOOKS.register_module()
class WeightingGuardHook(Hook):
    """Set how often uncertainty weighting checks for negative losses, whose logarithm is unbounded.

    Args:
        interval: Training forwards between two checks, each of which waits for the device; 0 for none.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def before_train(self, runner: Runner) -> None:
        """Set the interval."""
        for module in runner.model.modules():
            if isinstance(module, UncertaintyWeighting):
                module.check_interval = self.interval


@HOOKS.register_module()
class AccumulationGuardHook(Hook):
    """Refuse to accumulate gradients if the loss compares the images of one forward with each other.

    SimCLR and MoCo v3 take their negatives from the forward's own batch: in N accumulated batches of B images each
    image meets B - 1 others, not N * B - 1. To accumulate anyway, set ``default_hooks.accumulation=None``.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the model with ``optim_wrapper.accumulative_counts``.

        Raises:
            ValueError: They do not go together.
        """
        count = runner.optim_wrapper._accumulative_counts
        method = next((type(m).__name__ for m in runner.model.modules() if isinstance(m, (SimCLR, MoCoV3))), None)
        if count != 1 and method is not None:
            raise ValueError(
                f'optim_wrapper.accumulative_counts={count} with {method}: its negatives are the other images of the '
                f'same forward, so {count} accumulated batches are not one batch {count} times as large. For more '
                'negatives use more processes, which share theirs, or a larger batch with gradient checkpointing '
                '(default_hooks.step.checkpoint=True); to accumulate anyway, set default_hooks.accumulation=None'
            )
