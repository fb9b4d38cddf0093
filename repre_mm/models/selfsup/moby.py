"""MoBY: self-supervised learning with Swin transformers (Xie et al., arXiv 2105.04553)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpretrain.models.selfsup import BaseSelfSupervisor
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import Tensor, nn

from repre_mm.models.selfsup.ema import CosineEMA, disable_drop_path
from repre_mm.models.selfsup.queue import enqueue, similarities
from repre_mm.registry import MODELS


@MODELS.register_module()
class MoBY(BaseSelfSupervisor):
    """MoCo v2's queue with BYOL's asymmetric heads (Sec. 3; the authors' Transformer-SSL).

    The online network is encoder, projector and predictor; the target is a moving average of encoder and projector
    that drops no paths. Each view's prediction is compared with the other view's key and with the queue of past keys
    of that other view.

    A batch that does not divide the length of the queues, such as a partial last one, wraps around their end (the
    authors' code stops).

    Args:
        backbone: The encoder, with one output level.
        neck: The projector; the authors' is a ``NonLinearNeck`` with 2 layers, 4096 hidden and 256 output channels,
            ``with_bias=True, with_last_bn=False, with_last_bias=True``, and SyncBN.
        predictor: The same MLP from 256 channels, with ``with_avg_pool=False``.
        queue_len: Keys in each of the two queues.
        feat_dim: Output channels of projector and predictor.
        temperature: Of the softmax.
        base_momentum: First weight of the online network in the target's update, one minus the paper's 0.99; it falls
            to 0 along a cosine.
        data_preprocessor: As in every algorithm of mmpretrain.
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
        """Sum the contrastive losses of two views, each (B, 3, H, W) (Sec. 3); add a batch of keys to each queue.

        Raises:
            ValueError: A batch of all processes together is longer than the queue, or the projector's width is not
                ``feat_dim``.
        """
        view_1, view_2 = inputs
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
        """Compute InfoNCE of (B, C) queries with their (B, C) keys against a queue (C, K)."""
        # (B, 1), (B, K) -> (B, 1 + K), the right one first
        logits = torch.cat(similarities(queries, keys, queue), dim=1) / self.temperature
        return self.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))

    def _enqueue(self, keys_1: Tensor, keys_2: Tensor) -> None:
        after = enqueue(self.queue1, self.queue_ptr, keys_1)
        enqueue(self.queue2, self.queue_ptr, keys_2)
        self.queue_ptr.copy_(after)
