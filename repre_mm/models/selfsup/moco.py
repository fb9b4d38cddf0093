"""MoCo v2 with a queue that takes batches of any size."""

from __future__ import annotations

import torch
from mmengine.dist import all_gather
from mmpretrain.models import MoCo as MMPretrainMoCo
from torch import Tensor

from repre_mm.registry import MODELS


@MODELS.register_module()
class MoCo(MMPretrainMoCo):
    """MoCo v2 (arXiv 2003.04297) whose queue is a ring.

    mmpretrain's MoCo stops with a bare AssertionError at the first batch, the partial last one for instance, that
    does not divide ``queue_len``. Here the keys wrap around the end of the queue; where the batch does divide it,
    the queue is the same. Arguments and keys are those of mmpretrain's MoCo.
    """

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys: Tensor) -> None:
        """Overwrite the oldest keys with those of all processes, in rank order.

        Args:
            keys: (B, C), those of this process.

        Raises:
            ValueError: The joined batch is larger than the queue.
        """
        keys = torch.cat(all_gather(keys)).to(self.queue.dtype)
        if len(keys) > self.queue_len:
            raise ValueError(
                f'queue_len={self.queue_len} is smaller than the batch of {len(keys)} images over all processes: '
                'set model.queue_len to a multiple of the batch, or lower train_dataloader.batch_size'
            )
        slots = (self.queue_ptr + torch.arange(len(keys), device=keys.device)) % self.queue_len
        self.queue[:, slots] = keys.T
        self.queue_ptr.copy_((self.queue_ptr + len(keys)) % self.queue_len)
