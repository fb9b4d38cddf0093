"""MoCo v2 with a queue that takes batches of any size, and MoCo v3's head with logits in fp32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpretrain.models import MoCo as MMPretrainMoCo
from mmpretrain.models import MoCoV3Head as MMPretrainMoCoV3Head
from mmpretrain.models.utils import batch_shuffle_ddp, batch_unshuffle_ddp
from torch import Tensor, nn

from repre_mm.models.selfsup.queue import enqueue, similarities
from repre_mm.registry import MODELS
from repre_mm.utils.modules import at_least_fp32, no_autocast


@MODELS.register_module()
class MoCo(MMPretrainMoCo):
    """mmpretrain's MoCo v2 (arXiv 2003.04297) with a queue that is a ring, and logits in fp32 under autocast too.

    A batch that does not divide ``queue_len``, such as a partial last one, wraps around the end of the queue, where
    mmpretrain's stops with an AssertionError.
    """

    def loss(self, inputs: list[Tensor], data_samples: list | None = None, **kwargs) -> dict[str, Tensor]:
        """Compare view 1 with the keys of view 2 and the queue (InfoNCE); the views are (B, 3, H, W) each.

        Raises:
            ValueError: The batch of all processes is longer than the queue, or the neck's width is not ``feat_dim``.
        """
        online = nn.Sequential(self.backbone, self.neck)
        queries = online(inputs[0])[0]  # (B, C)
        with torch.no_grad():
            self.encoder_k.update_parameters(online)
            shuffled, order = batch_shuffle_ddp(inputs[1])
            keys = batch_unshuffle_ddp(self.encoder_k(shuffled)[0], order)
            keys = F.normalize(keys.float(), dim=1)
        loss = self.head.loss(*similarities(queries, keys, self.queue))
        self.queue_ptr.copy_(enqueue(self.queue, self.queue_ptr, keys))
        return {'loss': loss}


@MODELS.register_module()
class MoCoV3Head(MMPretrainMoCoV3Head):
    """mmpretrain's head of MoCo v3 in fp32 under autocast too: the predictor, the logits and their softmax.

    In bf16 a logit of 5 (a similarity of 1 at temperature 0.2) is rounded to steps of 1/32.
    """

    def loss(self, base_out: Tensor, momentum_out: Tensor) -> Tensor:
        """Compare projections (N, C) of the online network with those of the target network (InfoNCE)."""
        with no_autocast(base_out):
            return super().loss(at_least_fp32(base_out), at_least_fp32(momentum_out))
