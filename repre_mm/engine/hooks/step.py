"""Switch on cheaper training steps: CPU kernels, gradient checkpointing, compiled blocks."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from repre_mm.engine.optim.blocks import checkpoint_blocks, compile_blocks
from repre_mm.engine.optim.cpu_kernels import keep_memory, slow_mkl, use_attention, use_onednn_linear
from repre_mm.registry import HOOKS
from repre_mm.utils.modules import unwrap


@HOOKS.register_module()
class FastStepHook(Hook):
    """Make the steps of a run cheaper: ``--cfg-options default_hooks.step.checkpoint=True``.

    The defaults change results by rounding only. Both encoders, online and target, are changed; parameters
    keep their names, so checkpoints do not depend on it.

    Args:
        linear: On CPUs whose fp32 products are slow in MKL, take oneDNN's. See
            :func:`~repre_mm.engine.optim.cpu_kernels.slow_mkl`.
        attention: On CPUs in bf16, plain products for the attention of mmpretrain's ViTs.
        memory: On CPUs, keep freed memory instead of asking the system for it in every step. See
            :func:`~repre_mm.engine.optim.cpu_kernels.keep_memory`.
        checkpoint: Gradient checkpointing: the blocks' activations are computed again in the backward pass.
        compile: True, or options for :func:`torch.compile`: compile the blocks.
    """

    def __init__(
        self,
        linear: bool = True,
        attention: bool = True,
        memory: bool = True,
        checkpoint: bool = False,
        compile: bool | dict[str, Any] = False,
    ) -> None:
        self.linear, self.attention, self.memory = linear, attention, memory
        self.checkpoint, self.compile = checkpoint, compile

    def before_train(self, runner: Runner) -> None:
        """Set the switches.

        Raises:
            TypeError: ``checkpoint`` or ``compile`` is on, and the encoder is of no known family.
            ValueError: ``checkpoint`` is on, and the encoder's blocks hold BatchNorm; or mmengine's ``compile`` is on.
        """
        if runner.cfg.get('compile'):
            raise ValueError(
                "compile at the top level of the config is mmengine's: it compiles the whole step, and torch.compile "
                'does not see that the taps of RePre open and shut. Compile the blocks: default_hooks.step.compile=True'
            )
        model = unwrap(runner.model)
        for line in set_switches(model, self.linear, self.attention, self.memory, self.checkpoint, self.compile):
            runner.logger.info(line)


def set_switches(
    model: nn.Module,
    linear: bool = True,
    attention: bool = True,
    memory: bool = True,
    checkpoint: bool = False,
    compile: bool | dict[str, Any] = False,
) -> list[str]:
    """What :class:`FastStepHook` does, for a model with a ``backbone`` that is on its device.

    Returns:
        A line on each thing that was changed.
    """
    lines = []
    if next(model.parameters()).device.type == 'cpu':
        if linear and slow_mkl():
            lines.append(f'{use_onednn_linear(model)} linear layers multiply by oneDNN in fp32')
        if attention:
            lines.append(f'{use_attention(model)} attention layers are plain products in bf16')
        if memory and keep_memory():
            lines.append('freed memory stays with the process')
    # The online encoder and its target.
    encoders = [module for module in model.modules() if type(module) is type(model.backbone)]
    if compile is not False:
        options = {} if compile is True else compile
        count = sum(compile_blocks(encoder, **options) for encoder in encoders)
        lines.append(f'{count} blocks are compiled in the first steps, which takes a minute or so')
    if checkpoint:
        lines.append(f'{checkpoint_blocks(model.backbone)} blocks are computed again in the backward pass')
    return lines
