"""Log how well the embeddings tell images apart, and warn of a collapse."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from repre_mm.models.selfsup.dino import DINO
from repre_mm.registry import HOOKS
from repre_mm.utils.modules import unwrap

# Rows of the singular value decomposition: at most, and the fewest that mean anything.
_MOST, _FEWEST = 512, 4
# Fewer candidates than this are found by chance now and then.
_CANDIDATES = 32
_EMBEDDINGS = (
    'Lower the learning rate or lengthen its warm-up; check that weight decay spares norms and biases, that the '
    "target network's momentum is near 1 (base_momentum small), and the projector's BatchNorm; then resume from an "
    'earlier checkpoint'
)


@HOOKS.register_module()
class CollapseHook(Hook):
    """Log measures of the embeddings, and warn when they hardly differ between images.

    Every ``interval`` iterations, for the main process's own batch:

    - ``embedding_std`` and ``effective_rank`` of the projector's outputs (in DINO those before the last layer)
    - ``target_entropy`` and ``target_usage`` of DINO's targets, in nats; see :func:`target_entropies`
    - ``contrast_top1``: how often an image's other view is found among all candidates, in per cent, if the method
      computes a cross-entropy over them (SimCLR, MoCo v2 and v3, MoBY)

    A warning comes once a number has been bad ``patience`` times in a row, and again only after it was good. A model
    that is no self-supervised method is ignored.

    Args:
        interval: Iterations between two measurements.
        begin: Iterations before the first warning: untrained networks cannot tell images apart.
        patience: Bad measurements in a row before a warning.

    Raises:
        ValueError: ``interval`` or ``patience`` is less than 1.
    """

    priority = 'NORMAL'  # before LoggerHook

    def __init__(self, interval: int = 50, begin: int = 1000, patience: int = 3) -> None:
        if interval < 1 or patience < 1:
            raise ValueError(f'interval={interval} and patience={patience} must be at least 1')
        self.interval, self.begin, self.patience = interval, begin, patience
        self._bad: dict[str, int] = {}  # bad measurements in a row, by number
        self._handles: list[Any] = []
        self._seen: dict[str, Any] = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Hook into the modules in every ``interval``-th iteration."""
        if not is_main_process() or not self.every_n_train_iters(runner, self.interval):
            return
        model = unwrap(runner.model)
        algorithm = getattr(model, 'algorithm', model)
        if not isinstance(algorithm, BaseSelfSupervisor):
            return
        neck = getattr(algorithm, 'neck', None)
        if isinstance(algorithm, DINO):
            neck = neck.mlp
            self._handles.append(algorithm.momentum_encoder.register_forward_hook(self._note_targets))
            self._dino = algorithm
        if neck is not None:
            self._handles.append(neck.register_forward_hook(self._note_embeddings))
        for module in algorithm.modules():
            if isinstance(module, (CrossEntropyLoss, nn.CrossEntropyLoss)):
                self._handles.append(module.register_forward_pre_hook(self._note_logits))

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Measure, log, and warn."""
        seen, self._seen = self._seen, {}
        self.after_train(runner)
        found, complaints = measure(seen)
        for name, value in found.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        if runner.iter + 1 < self.begin:
            return
        for name, complaint in complaints.items():
            self._bad[name] = self._bad.get(name, 0) + 1 if complaint else 0
            if self._bad[name] == self.patience:
                runner.logger.warning(f'iteration {runner.iter + 1}: {complaint}')

    def after_train(self, runner: Runner) -> None:
        """Remove the hooks from the modules."""
        while self._handles:
            self._handles.pop().remove()

    def _note_embeddings(self, module: nn.Module, args: tuple, output: Any) -> None:
        self._seen.setdefault('embeddings', _last(output).detach())

    def _note_targets(self, module: nn.Module, args: tuple, output: Any) -> None:
        head = self._dino.head
        temperature = head.teacher_temp_at(self._dino.epoch or 0)
        self._seen['targets'] = (_last(output).detach().float() - head.center) / temperature

    def _note_logits(self, module: nn.Module, args: tuple) -> None:
        self._seen.setdefault('logits', tuple(each.detach() for each in args[:2]))


def _last(output: Any) -> Tensor:
    return output[-1] if isinstance(output, (list, tuple)) else output


@torch.no_grad()
def measure(seen: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Compute the numbers of :class:`CollapseHook` and judge them.

    Args:
        seen: Any of ``embeddings`` (B, D); ``targets`` (B, K), centred and divided by the temperature; ``logits``,
            (B, K) and labels (B,).

    Returns:
        The numbers, and a warning for each that is judged, or '' if it is fine.
    """
    found: dict[str, float] = {}
    complaints: dict[str, str] = {}
    embeddings = seen.get('embeddings')
    if embeddings is not None and embeddings.ndim == 2 and len(embeddings) >= _FEWEST and embeddings.isfinite().all():
        embeddings = embeddings[:_MOST]
        std, rank, most = embedding_std(embeddings), effective_rank(embeddings), min(embeddings.shape)
        found |= {'embedding_std': std, 'effective_rank': rank}
        point = f'have collapsed: all images get nearly the same one (embedding_std {std:.3f}; healthy: about 1)'
        line = f'use {rank:.1f} of {most} directions (effective_rank), so they hardly tell images apart'
        complaints['embedding_std'] = f'the embeddings {point}. {_EMBEDDINGS}' if std < 0.05 else ''
        complaints['effective_rank'] = f'the embeddings {line}. {_EMBEDDINGS}' if rank < 1 + 0.02 * most else ''
    if 'targets' in seen and seen['targets'].isfinite().all():
        single, together = target_entropies(seen['targets'])
        found |= {'target_entropy': single, 'target_usage': together}
        complaints['target_entropy'] = _target_complaint(single, together, *seen['targets'].shape)
    if 'logits' in seen:
        logits, labels = seen['logits']
        found['contrast_top1'] = accuracy = top1(logits, labels)
        candidates = logits.shape[1]
        complaints['contrast_top1'] = (
            f'the other view of an image is found among {candidates} candidates in {accuracy:.2f} % of the cases, no '
            'more often than by chance (contrast_top1). Check that both views show the same image; raise the learning '
            'rate if it is still in its warm-up, lower it if the loss has risen'
            if candidates >= _CANDIDATES and accuracy * candidates / 100 < 2
            else ''
        )
    return found, complaints


def _target_complaint(single: float, together: float, rows: int, outputs: int) -> str:
    if together - single > 0.02 * math.log(max(min(rows, outputs), 2)):
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


def embedding_std(embeddings: Tensor) -> float:
    """Measure how far apart the embeddings of different images are (SimSiam, arXiv 2011.10566, Sec. 4.1 and Fig. 2).

    Args:
        embeddings: (B, D), B >= 2, of any length.

    Returns:
        The standard deviation of each channel of the unit-length embeddings, averaged over channels, times the root of
        D: 0 if all are the same, about 1 if they point in all directions.
    """
    unit = F.normalize(embeddings.float(), dim=1)
    return unit.std(dim=0, correction=0).mean().item() * embeddings.shape[1] ** 0.5


def effective_rank(embeddings: Tensor) -> float:
    """Count the directions that the embeddings use: RankMe (Garrido et al., ICML 2023, arXiv 2210.02885, Eq. 1).

    Args:
        embeddings: (B, D), of any length; each is scaled to unit length first.

    Returns:
        The exponential of the entropy of the normalised singular values: from 1, all on one line, to min(B, D), evenly
        spread; 0 if all are zero.
    """
    values = torch.linalg.svdvals(F.normalize(embeddings.float(), dim=1))
    if not values.sum() > 0:
        return 0.0
    return torch.special.entr(values / values.sum()).sum().exp().item()


def target_entropies(logits: Tensor) -> tuple[float, float]:
    """Measure how sharp the targets are, and how many outputs they use together (DINO, Sec. 5.3).

    Args:
        logits: (B, K), centred and divided by the temperature.

    Returns:
        In nats, in [0, log K]: the mean entropy of an image's target, and the entropy of the mean target. Their
        difference is 0 in both kinds of collapse: on one output both are 0, on uniform targets both are log K.
    """
    targets = F.softmax(logits.float(), dim=1)
    single = torch.special.entr(targets).sum(dim=1).mean()
    together = torch.special.entr(targets.mean(dim=0)).sum()
    return single.item(), together.item()


def top1(logits: Tensor, labels: Tensor) -> float:
    """Per cent of rows whose largest logit is the label's; (B, N) and (B,)."""
    return 100 * (logits.argmax(dim=1) == labels).float().mean().item()
