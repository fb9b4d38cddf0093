"""SimCLR with the gradients of one process on the joined batch, however many processes there are."""

from __future__ import annotations

import torch
from mmengine.dist import get_rank, get_world_size
from mmpretrain.models import SimCLR as MMPretrainSimCLR
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from repre_mm.registry import MODELS
from repre_mm.utils.modules import no_autocast


@MODELS.register_module()
class SimCLR(MMPretrainSimCLR):
    """SimCLR (arXiv 2002.05709, Algorithm 1): each view against all views of all processes.

    mmpretrain's SimCLR gathers the embeddings of all processes, but its backward keeps only the part of its own rank:
    after DDP's averaging, gradients are 1 / world size of the true ones. Here gradients return to the rank that an
    embedding came from, and each rank computes the rows of its own images only. Similarities are in fp32 under autocast
    too. In one process the loss is mmpretrain's.
    """

    def loss(self, inputs: list[Tensor], data_samples: list | None = None, **kwargs) -> dict[str, Tensor]:
        """Average NT-Xent over the two views of this rank's images, each (B, 3, H, W); B is the same on all ranks.

        Raises:
            ValueError: There are not two views, or all ranks together have fewer than two images.
        """
        if len(inputs) != 2:
            raise ValueError(f'SimCLR compares two views per image, got {len(inputs)}: set num_views in MultiView')
        size, world = len(inputs[0]), get_world_size()
        if size * world < 2:
            raise ValueError('SimCLR has no negatives in a batch of one image: set train_dataloader.batch_size to 2')
        # 2 x (B, 3, H, W) -> (2B, 3, H, W); rows 2i and 2i + 1 are the views of image i
        stacked = torch.stack(inputs, 1).flatten(0, 1)
        embedded = self.neck(self.backbone(stacked))[0]
        with no_autocast(embedded):
            own = F.normalize(embedded.float(), dim=1)  # (2B, D)
            everyone = torch.cat(all_gather(own)) if world > 1 else own  # (2N, D), N = B * world size
            similarity = own @ everyone.T  # (2B, 2N)
            row = torch.arange(2 * size, device=own.device).unsqueeze(1) + 2 * size * get_rank()
            positive = similarity.gather(1, row ^ 1)  # (2B, 1)
            # All columns but the view itself and its partner, which are neighbours: skip both from `row` on.
            column = torch.arange(2 * size * world - 2, device=own.device)
            negative = similarity.gather(1, column + 2 * (column >= row // 2 * 2))  # (2B, 2N - 2)
            return {'loss': self.head.loss(positive, negative)}
