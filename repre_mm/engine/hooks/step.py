"""Make training steps cheaper: CPU kernels, gradient checkpointing, compiled blocks."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from repre_mm.engine.optim.blocks import checkpoint_blocks, compile_blocks
from repre_mm.engine.optim.cpu_kernels import keep_memory, use_attention
from repre_mm.registry import HOOKS
from repre_mm.utils.modules import unwrap


@HOOKS.register_module()
class FastStepHook(Hook):
    """Make the steps of a run cheaper: ``--cfg-options default_hooks.step.checkpoint=True``.

    The defaults change results by rounding only. Parameters keep their names, so checkpoints do not depend on any
    switch.

    Args:
        attention: On CPUs in bf16, use plain products for the attention of mmpretrain's ViTs.
        memory: On CPUs, keep freed memory; see :func:`~repre_mm.engine.optim.cpu_kernels.keep_memory`.
        checkpoint: Gradient checkpointing: compute the activations of the blocks again in the backward pass.
        compile: True, or options of :func:`torch.compile`: compile the blocks of the online and target encoders.
    """

    def __init__(
        self,
        attention: bool = True,
        memory: bool = True,
        checkpoint: bool = False,
        compile: bool | dict[str, Any] = False,
    ) -> None:
        self.attention, self.memory = attention, memory
        self.checkpoint, self.compile = checkpoint, compile

    def before_train(self, runner: Runner) -> None:
        """Switch the run's model.

        Raises:
            TypeError: ``checkpoint`` or ``compile`` is on, and the encoder is of no known family.
            ValueError: ``checkpoint`` is on, and the encoder's blocks hold BatchNorm; or mmengine's ``compile`` is on.
        """
        if runner.cfg.get('compile'):
            raise ValueError(
                "compile at the top level of the config is mmengine's: it compiles the whole step, and torch.compile "
                'does not see that the taps of RePre open and shut. Compile the blocks: default_hooks.step.compile=True'
            )
        for line in self.switch(unwrap(runner.model)):
            runner.logger.info(line)

    def switch(self, model: nn.Module) -> list[str]:
        """Change a model that has a ``backbone`` and is on its device, in place; returns a line on each change."""
        lines = []
        if next(model.parameters()).device.type == 'cpu':
            if self.attention:
                lines.append(f'{use_attention(model)} attention layers are plain products in bf16')
            if self.memory and keep_memory():
                lines.append('freed memory stays with the process')
        if self.compile is not False:
            options = {} if self.compile is True else self.compile
            encoders = [module for module in model.modules() if type(module) is type(model.backbone)]
            count = sum(compile_blocks(encoder, **options) for encoder in encoders)
            lines.append(f'{count} blocks are compiled in the first steps, which takes a minute or so')
        if self.checkpoint:
            lines.append(f'{checkpoint_blocks(model.backbone)} blocks are computed again in the backward pass')
        return lines
