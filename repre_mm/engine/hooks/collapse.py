"""Log how well the embeddings tell images apart, and warn of a collapse."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from repre_mm.models.selfsup.dino import DINO
from repre_mm.registry import HOOKS
from repre_mm.utils.modules import unwrap

# Rows of the singular value decomposition: at most, and the fewest that mean anything.
_MOST, _FEWEST = 512, 4


@HOOKS.register_module()
class CollapseHook(Hook):
    """Log ``embedding_std`` and ``effective_rank``, and warn when the embeddings hardly differ between images.

    Every ``interval`` iterations, of the projector's outputs (in DINO those before the last layer) for the main
    process's own batch. A warning comes once they have been bad ``patience`` times in a row, and again only after they
    were good. A model that is no self-supervised method is ignored.

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
        self._bad = 0  # bad measurements in a row
        self._handle: RemovableHandle | None = None
        self._embeddings: Tensor | None = None  # (B, D)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Hook into the projector in every ``interval``-th iteration."""
        if not is_main_process() or not self.every_n_train_iters(runner, self.interval):
            return
        model = unwrap(runner.model)
        algorithm = getattr(model, 'algorithm', model)
        neck = getattr(algorithm, 'neck', None)
        if isinstance(algorithm, BaseSelfSupervisor) and neck is not None:
            neck = neck.mlp if isinstance(algorithm, DINO) else neck
            self._handle = neck.register_forward_hook(self._note)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Measure, log, and warn."""
        embeddings, self._embeddings = self._embeddings, None
        self.after_train(runner)
        if embeddings is None or embeddings.ndim != 2 or len(embeddings) < _FEWEST or not embeddings.isfinite().all():
            return
        embeddings = embeddings[:_MOST]
        std, rank, most = embedding_std(embeddings), effective_rank(embeddings), min(embeddings.shape)
        runner.message_hub.update_scalar('train/embedding_std', std)
        runner.message_hub.update_scalar('train/effective_rank', rank)
        if runner.iter + 1 < self.begin:
            return
        self._bad = self._bad + 1 if std < 0.05 or rank < 1 + 0.02 * most else 0
        if self._bad == self.patience:
            runner.logger.warning(
                f'iteration {runner.iter + 1}: the embeddings have collapsed, so they hardly tell images apart: '
                f'embedding_std {std:.3f} (healthy: about 1), effective_rank {rank:.1f} of {most}. Lower the learning '
                'rate or lengthen its warm-up, then resume from an earlier checkpoint'
            )

    def after_train(self, runner: Runner) -> None:
        """Remove the hook from the projector."""
        if self._handle is not None:
            self._handle.remove()

    def _note(self, module: nn.Module, args: tuple, output: Any) -> None:
        if self._embeddings is None:  # of view 1
            self._embeddings = (output[-1] if isinstance(output, (list, tuple)) else output).detach()


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
