"""A watch over what contrastive and self-distilled training can collapse to: one answer for every image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from repre_mm.engine.collapse import effective_rank, embedding_std, target_entropies, top1
from repre_mm.models.selfsup.dino import DINO
from repre_mm.registry import HOOKS

# The most rows that a singular value decomposition is made of, and the fewest that say anything.
_MOST, _FEWEST = 512, 4
_EMBEDDINGS = (
    'Lower the learning rate or lengthen its warm-up; check that weight decay spares norms and biases, that the '
    "target network's momentum is near 1 (base_momentum small), and the projector's BatchNorm; then go on from a "
    'checkpoint before this'
)


@HOOKS.register_module()
class CollapseHook(Hook):
    """Log whether the embeddings still tell images apart, and warn in words when they do not.

    Every ``interval`` iterations, on the main process, of the images of its own batch:

    - ``embedding_std`` and ``effective_rank`` of the projector's outputs (before DINO's last layer), see
      :func:`~repre_mm.engine.collapse.embedding_std` and :func:`~repre_mm.engine.collapse.effective_rank`
    - ``target_entropy``, the mean over DINO's targets, and ``target_usage``, that of their mean, in nats; see
      :func:`~repre_mm.engine.collapse.target_entropies`
    - ``contrast_top1``, how often an image's other view is found among all candidates, in per cent, where the method
      computes a cross-entropy over them (SimCLR, MoCo v2 and v3, MoBY)

    A warning comes once when a number has been bad ``patience`` times in a row, and again only after it was good.

    Args:
        interval: Iterations between two looks.
        begin: Iterations before the first warning: untrained networks tell nothing apart.
        patience: Bad looks in a row before a warning.

    Raises:
        ValueError: ``interval`` or ``patience`` is less than 1.
    """

    priority = 'NORMAL'  # before LoggerHook

    def __init__(self, interval: int = 50, begin: int = 1000, patience: int = 3) -> None:
        if interval < 1 or patience < 1:
            raise ValueError(f'interval={interval} and patience={patience} must be at least 1')
        self.interval, self.begin, self.patience = interval, begin, patience
        self._bad: dict[str, int] = {}  # looks in a row
        self._handles: list[Any] = []
        self._seen: dict[str, Any] = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Listen to the modules in this iteration, where it is its turn."""
        if not is_main_process() or not self.every_n_train_iters(runner, self.interval):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        algorithm = getattr(model, 'algorithm', model)
        neck = getattr(algorithm, 'neck', None)
        if isinstance(algorithm, DINO):
            neck = neck.mlp
            self._listen(algorithm.momentum_encoder, lambda output: self._note_targets(algorithm, output))
        if neck is not None:
            self._listen(neck, self._note_embeddings)
        for module in algorithm.modules():
            if isinstance(module, (CrossEntropyLoss, nn.CrossEntropyLoss)):
                handle = module.register_forward_pre_hook(self._note_logits)
                self._handles.append(handle)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Compute, log, judge."""
        seen, self._seen = self._seen, {}
        while self._handles:
            self._handles.pop().remove()
        if not seen:
            return
        found, complaints = _judge(seen)
        for name, value in found.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        if runner.iter + 1 < self.begin:
            return
        for name, complaint in complaints.items():
            self._bad[name] = self._bad.get(name, 0) + 1 if complaint else 0
            if self._bad[name] == self.patience:
                runner.logger.warning(f'iteration {runner.iter + 1}: {complaint}')

    def after_train(self, runner: Runner) -> None:
        """Let go of the modules."""
        while self._handles:
            self._handles.pop().remove()

    def _listen(self, module: nn.Module, note: Callable[[Any], None]) -> None:
        self._handles.append(module.register_forward_hook(lambda module, args, output: note(output)))

    def _note_embeddings(self, output: Any) -> None:
        self._seen.setdefault('embeddings', _last(output).detach())

    def _note_targets(self, algorithm: DINO, output: Any) -> None:
        head = algorithm.head
        temperature = head.teacher_temp_at(algorithm.epoch or 0)
        self._seen['targets'] = (_last(output).detach().float() - head.center) / temperature

    def _note_logits(self, module: nn.Module, args: tuple) -> None:
        self._seen.setdefault('logits', tuple(each.detach() for each in args[:2]))


def _last(output: Any) -> Tensor:
    return output[-1] if isinstance(output, (list, tuple)) else output


@torch.no_grad()
def _judge(seen: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers, and for each that is judged what is wrong with it, or ''."""
    found: dict[str, float] = {}
    complaints: dict[str, str] = {}
    embeddings = seen.get('embeddings')
    if embeddings is not None and embeddings.ndim == 2 and len(embeddings) >= _FEWEST and embeddings.isfinite().all():
        embeddings = embeddings[:_MOST]
        std, rank, most = embedding_std(embeddings), effective_rank(embeddings), min(embeddings.shape)
        found |= {'embedding_std': std, 'effective_rank': rank}
        complaints['embedding_std'] = (
            f'the embeddings have collapsed: all images get nearly the same one (embedding_std {std:.3f}; 0 is one '
            f'point, about 1 is healthy). {_EMBEDDINGS}'
            if std < 0.05
            else ''
        )
        complaints['effective_rank'] = (
            f'the embeddings use {rank:.1f} of {most} directions (effective_rank): images differ in next to nothing. '
            f'{_EMBEDDINGS}'
            if rank < 1 + 0.02 * most
            else ''
        )
    if 'targets' in seen and seen['targets'].isfinite().all():
        single, together = target_entropies(seen['targets'])
        found |= {'target_entropy': single, 'target_usage': together}
        rows, outputs = seen['targets'].shape
        complaints['target_entropy'] = _target_complaint(single, together, min(rows, outputs), outputs)
    if 'logits' in seen:
        logits, labels = seen['logits']
        found['contrast_top1'] = accuracy = top1(logits, labels)
        candidates = logits.shape[1]
        # With fewer, luck finds the other view now and then.
        complaints['contrast_top1'] = (
            f'the other view of an image is found among {candidates} candidates in {accuracy:.2f} % of the cases, no '
            'more often than by luck (contrast_top1). Check that both views show the same image; raise the learning '
            'rate if it is still in its warm-up, lower it if the loss has risen'
            if candidates >= 32 and accuracy * candidates / 100 < 2
            else ''
        )
    return found, complaints


def _target_complaint(single: float, together: float, spread: int, outputs: int) -> str:
    if together - single > 0.02 * math.log(max(spread, 2)):
        return ''
    numbers = f'target_entropy {single:.2f}, target_usage {together:.2f}, at most {math.log(outputs):.2f}'
    if together < 0.5 * math.log(outputs):
        return (
            f"DINO's teacher gives nearly all images the same few outputs ({numbers}): centring is too weak. Lower "
            'head.center_momentum or raise head.teacher_temp, freeze the last layer for longer '
            '(DINOHook.freeze_last_layer), lower the learning rate'
        )
    return (
        f"DINO's teacher gives every image the same, even answer ({numbers}): sharpening is too weak. Lower "
        'head.teacher_temp and warmup_teacher_temp (0.04), lower the learning rate'
    )
