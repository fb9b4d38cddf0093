"""MoBY: self-supervised learning with Swin transformers (Xie et al., arXiv 2105.04553)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_world_size
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import Tensor, nn

from repre_mm.models.selfsup.ema import CosineEMA, disable_drop_path
from repre_mm.registry import MODELS
from repre_mm.utils.modules import no_autocast


@MODELS.register_module()
class MoBY(BaseSelfSupervisor):
    """MoCo v2's queue with BYOL's asymmetric heads (Sec. 3; the authors' Transformer-SSL).

    The online network is encoder, projector and predictor; the target is a moving average of encoder and projector
    that drops no paths. Each view's prediction is compared with the other view's key and with the queue of past keys
    of that other view.

    The queues are rings: a batch that does not divide their length, such as a partial last one, wraps around (the
    authors' code stops). All processes must bring batches of one size, as mmengine's samplers do.

    Args:
        backbone: Config of the encoder, with one output level.
        neck: Config of the projector; the authors' is a ``NonLinearNeck`` with 2 layers, 4096 hidden and 256 output
            channels, ``with_bias=True, with_last_bn=False, with_last_bias=True``, and SyncBN.
        predictor: Config of the predictor, the same MLP from 256 channels, with ``with_avg_pool=False``.
        queue_len: Keys in each of the two queues.
        feat_dim: Output channels of projector and predictor.
        temperature: Of the softmax.
        base_momentum: First weight of the online network in the target's update, one minus the paper's 0.99; it falls
            to 0 along a cosine.
        data_preprocessor: As in mmpretrain.
        init_cfg: As in mmpretrain.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        predictor: dict,
        queue_len: int = 4096,
        feat_dim: int = 256,
        temperature: float = 0.2,
        base_momentum: float = 0.01,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.predictor = MMPRETRAIN_MODELS.build(predictor)
        self.momentum_encoder = CosineEMA(nn.Sequential(self.backbone, self.neck), base_momentum)
        disable_drop_path(self.momentum_encoder.module)
        self.temperature = temperature
        self.cross_entropy = nn.CrossEntropyLoss()
        self.register_buffer('queue1', F.normalize(torch.randn(feat_dim, queue_len), dim=0))
        self.register_buffer('queue2', F.normalize(torch.randn(feat_dim, queue_len), dim=0))
        self.register_buffer('queue_ptr', torch.zeros(1, dtype=torch.long))

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Sum both views' contrastive losses (Sec. 3), and add a batch of keys to each queue.

        Args:
            inputs: Two views, each (B, 3, H, W).
            data_samples: Not used.

        Returns:
            ``loss``, a scalar.

        Raises:
            ValueError: A batch of all processes together is longer than the queue, or the projector's width is not
                ``feat_dim``.
        """
        view_1, view_2 = inputs
        self._check_batch(len(view_1))
        online = nn.Sequential(self.backbone, self.neck)
        q1 = self.predictor(online(view_1))[0]  # (B, feat_dim) each
        q2 = self.predictor(online(view_2))[0]
        with torch.no_grad():
            self.momentum_encoder.update_parameters(online)
            k1 = F.normalize(self.momentum_encoder(view_1)[0].float(), dim=1)
            k2 = F.normalize(self.momentum_encoder(view_2)[0].float(), dim=1)
        loss = self._contrast(q1, k2, self.queue2) + self._contrast(q2, k1, self.queue1)
        self._enqueue(k1, k2)
        return {'loss': loss}

    def _contrast(self, queries: Tensor, keys: Tensor, queue: Tensor) -> Tensor:
        """InfoNCE of (B, C) queries with their (B, C) keys against a queue (C, K)."""
        if keys.shape[1] != len(queue):
            raise ValueError(f'the projector (neck) gives {keys.shape[1]} channels, but feat_dim={len(queue)}')
        # In fp32 under autocast too. A copy of the queue, which changes before the backward pass.
        with no_autocast(queries):
            queries = F.normalize(queries.float(), dim=1)
            positive = (queries * keys).sum(dim=1, keepdim=True)
            # (B, 1), (B, K) -> (B, 1 + K), the right one first
            logits = torch.cat([positive, queries @ queue.clone()], dim=1) / self.temperature
            return self.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))

    def _check_batch(self, batch: int) -> None:
        total, queue_len = batch * get_world_size(), self.queue1.shape[1]
        if total > queue_len:
            raise ValueError(
                f'queue_len={queue_len} is shorter than one batch of {total} images ({batch} on each of '
                f'{get_world_size()} processes): raise model.queue_len or lower train_dataloader.batch_size'
            )

    @torch.no_grad()
    def _enqueue(self, keys_1: Tensor, keys_2: Tensor) -> None:
        """Replace the oldest keys by those of all processes; (B, C) each."""
        keys_1, keys_2 = torch.cat(all_gather(keys_1)), torch.cat(all_gather(keys_2))
        count, length = len(keys_1), self.queue1.shape[1]
        places = (self.queue_ptr + torch.arange(count, device=keys_1.device)) % length
        self.queue1[:, places] = keys_1.T
        self.queue2[:, places] = keys_2.T
        self.queue_ptr.add_(count).remainder_(length)
