"""Measure what each loss asks of each block of the encoder: gradient norms, the pixels' share, the cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from repre_mm.distributed.sharding import is_sharded
from repre_mm.models.repre import RePreAlgorithm
from repre_mm.models.taps import encoder_levels
from repre_mm.registry import HOOKS
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import no_autocast, unwrap

Scalars = dict[str, float]


@HOOKS.register_module()
class GradientBalanceHook(Hook):
    """Log the gradients of both losses at each block of the online encoder, weights applied, every ``interval`` steps.

    For block i, from 1, the shallowest (a stage, for a pyramid), with the gradients of its parameters as one vector:
    ``grad_norm_contrast_block_i`` and ``grad_norm_recon_block_i`` (L2), ``grad_share_recon_block_i`` (the pixels' norm
    over the sum of both, 0 to 1) and ``grad_cosine_block_i`` (-1 to 1; 0 where a gradient is 0). They are those of the
    main process's batch, before clipping. Like all curves they are in ``vis_data/scalars.json``.

    The graph of the step is run backward twice more, once per loss; no result of the training changes. Off by default:
    ``custom_hooks=[dict(type='repre_mm.GradientBalanceHook', interval=50)]``.

    Args:
        interval: Iterations between two measurements; the first iteration is measured.

    Raises:
        UserError: ``interval`` is less than 1. In training: there is no RePre branch, the parameters are split over
            processes, or the blocks are compiled.
    """

    priority = 'LOW'  # after the losses of the step are logged

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise UserError(f'GradientBalanceHook: interval={interval} must be at least 1')
        self.interval = interval
        self._due = False
        self._scalars: Scalars = {}

    def before_train(self, runner: Runner) -> None:
        """Listen to the loss weighting, which sees both losses with their graphs."""
        model = unwrap(runner.model)
        if not isinstance(model, RePreAlgorithm):
            raise UserError(
                f'GradientBalanceHook compares the losses of RePreAlgorithm, and {type(model).__name__} has one: '
                'remove the hook'
            )
        if is_sharded(runner.model):
            raise UserError('GradientBalanceHook needs whole parameters: remove it, or train without FSDP')
        step = (runner.cfg.get('default_hooks') or {}).get('step') or {}
        if step.get('compile', False) is not False:
            raise UserError('GradientBalanceHook runs a graph backward twice: set default_hooks.step.compile=False')
        blocks = encoder_levels(model.backbone).modules

        def listen(module: nn.Module, losses: tuple[Tensor, Tensor], output: tuple[Tensor, dict[str, Tensor]]) -> None:
            if self._due:
                self._due = False
                weights = output[1]['weight_contrast'], output[1]['weight_recon']
                self._scalars = gradient_balance(blocks, losses, weights)

        self._handle = model.loss_weighting.register_forward_hook(listen)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Measure in this iteration, if it is its turn; all processes do, since backward passes may gather."""
        self._due = runner.iter % self.interval == 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Log what was measured; the visualizer of processes other than the main one writes nothing."""
        if self._scalars:
            step = runner.iter + 1
            runner.visualizer.add_scalars({**self._scalars, 'iter': step}, step=step)
            self._scalars = {}

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        self._handle.remove()


def gradient_balance(blocks: Sequence[nn.Module], losses: Sequence[Tensor], weights: Sequence[Tensor]) -> Scalars:
    """Compare the gradients of two weighted losses at the parameters of each block; their graphs stay whole.

    Args:
        blocks: Shallow to deep; frozen ones are left out.
        losses: The contrastive and the reconstruction loss, scalars with graphs.
        weights: Of both.

    Returns:
        The scalars of :class:`GradientBalanceHook`.
    """
    trained = {i: [p for p in block.parameters() if p.requires_grad] for i, block in enumerate(blocks, 1)}
    everything = [p for parameters in trained.values() for p in parameters]
    with no_autocast(losses[0]):  # the backward pass in the precision of the forward pass
        found = [torch.autograd.grad(loss, everything, retain_graph=True, materialize_grads=True) for loss in losses]
    gradients = [dict(zip(everything, each, strict=True)) for each in found]
    scalars: Scalars = {}
    for i, parameters in trained.items():
        if not parameters:
            continue
        contrast, recon = (
            weight.detach() * torch.cat([each[p].float().flatten() for p in parameters])
            for each, weight in zip(gradients, weights, strict=True)
        )
        norms = contrast.norm().item(), recon.norm().item()
        scalars |= {
            f'grad_norm_contrast_block_{i}': norms[0],
            f'grad_norm_recon_block_{i}': norms[1],
            f'grad_share_recon_block_{i}': norms[1] / sum(norms) if any(norms) else 0.0,
            f'grad_cosine_block_{i}': torch.dot(contrast, recon).item() / (norms[0] * norms[1]) if all(norms) else 0.0,
        }
    return scalars
