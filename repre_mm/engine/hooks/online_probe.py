"""Train a linear head beside the method, on the features of the same forward, and log its accuracy."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from repre_mm.models.taps import LevelTap, pooled
from repre_mm.registry import HOOKS
from repre_mm.utils.configs import find_nodes
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import unwrap


@HOOKS.register_module()
class OnlineProbeHook(Hook):
    """Log ``probe_top1`` (percent) of a linear classifier that learns while the encoder does; it costs no forward.

    The head sees the online network's pooled output for view 1, detached and scaled to zero mean and unit variance per
    image, and has an optimizer of its own: the training has the same weights with it as without. It is scored on each
    batch before it learns from it, so on augmented training images; ``probe/epoch_top1`` is the mean over an epoch.

    Args:
        lr: Learning rate of the head's Adam.
    """

    priority = 'NORMAL'  # before LoggerHook and the checkpoint

    def __init__(self, lr: float = 1e-3) -> None:
        self.lr = lr
        self._head: nn.Linear | None = None
        self._saved: dict[str, Any] | None = None
        self._view: Tensor | None = None  # (B, 3, H, W)
        self._features: Tensor | None = None  # (B, C)
        self._handles: list = []

    def before_train(self, runner: Runner) -> None:
        """Listen to the encoder.

        Raises:
            UserError: The training images have no labels.
        """
        self._classes = len(runner.train_dataloader.dataset.metainfo.get('classes') or ())
        if not self._classes:
            raise UserError(
                'repre_mm.OnlineProbeHook needs labels, and the training images have none: set '
                'train_dataloader.dataset.labels=True if they lie in class folders, or remove the hook'
            )
        algorithm = unwrap(runner.model)
        algorithm = getattr(algorithm, 'algorithm', algorithm)
        if self._saved is not None:
            self._build(self._saved['head']['weight'].shape[1], next(algorithm.parameters()).device)
        self._layouts = LevelTap()
        self._handles = [
            algorithm.register_forward_pre_hook(self._note_view, with_kwargs=True),
            algorithm.backbone.register_forward_hook(self._note_features),
        ]

    def _note_view(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        inputs = args[0] if args else kwargs['inputs']
        self._view, self._features = inputs[0], None

    def _note_features(self, module: nn.Module, args: tuple, output: Any) -> None:
        if self._view is None or not torch.is_grad_enabled():
            return
        rows = self._layouts.rows_of_view(self._view, args[0], 0)
        if rows is not None:
            self._features, self._view = pooled(output).detach()[rows].float(), None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Any = None) -> None:
        """Score the batch, then learn from it.

        Raises:
            UserError: The encoder never saw view 1 as a whole.
        """
        features, self._view, self._features = self._features, None, None
        if features is None:
            raise UserError('repre_mm.OnlineProbeHook: the encoder never saw view 1 with gradients: remove the hook')
        if self._head is None:
            self._build(features.shape[1], features.device)
        labels = torch.cat([sample.gt_label for sample in data_batch['data_samples']]).to(features.device)
        # A step with NaN, which NonFiniteHook deals with, must not spoil the head.
        logits = self._head(F.layer_norm(features, features.shape[1:]).nan_to_num(0, 0, 0))
        self._optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        for parameter in self._head.parameters():
            all_reduce(parameter.grad, 'mean')
        self._optimizer.step()
        right = torch.stack([(logits.argmax(dim=1) == labels).sum(), labels.new_tensor(len(labels))])
        all_reduce(right)
        self._counts += right.cpu()
        runner.message_hub.update_scalar('train/probe_top1', (100 * right[0] / right[1]).item())

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the epoch's score."""
        if self._head is None:
            return
        top1 = (100 * self._counts[0] / self._counts[1]).item()
        self._counts.zero_()
        runner.logger.info(f'Epoch [{runner.epoch + 1}] online probe: top-1 {top1:.2f} % of the training views')
        runner.message_hub.update_scalar('probe/epoch_top1', top1)
        runner.visualizer.add_scalar('probe/epoch_top1', top1, runner.epoch + 1)

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        while self._handles:
            self._handles.pop().remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the head and its optimizer."""
        if self._head is not None:
            parts = {'head': self._head.state_dict(), 'optimizer': self._optimizer.state_dict()}
            checkpoint['online_probe'] = {**parts, 'counts': self._counts.clone()}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the head of a run that is resumed."""
        self._saved = checkpoint.get('online_probe') if runner.cfg.get('resume') else None

    def _build(self, width: int, device: torch.device) -> None:
        self._head = nn.utils.skip_init(nn.Linear, width, self._classes, device=device)
        for parameter in self._head.parameters():
            nn.init.zeros_(parameter)  # draws no random numbers, and is the same on all processes
        self._optimizer = torch.optim.Adam(self._head.parameters(), lr=self.lr)
        self._counts = torch.zeros(2, dtype=torch.int64)  # right, all, in this epoch and over all processes
        if self._saved is not None:
            self._head.load_state_dict(self._saved['head'])
            self._optimizer.load_state_dict(self._saved['optimizer'])
            self._counts += self._saved['counts']


def label_for_probe(cfg: Config) -> None:
    """Let the training images carry their labels, if the config has an :class:`OnlineProbeHook`."""
    if next(find_nodes(cfg._cfg_dict, 'type', 'repre_mm.OnlineProbeHook'), None):
        for dataset in find_nodes(cfg._cfg_dict['train_dataloader'], 'type', 'repre_mm.ImageFolder'):
            dataset.labels = True
