"""Ring of past keys, shared by MoCo v2 and MoBY, and similarities to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from torch import Tensor

from repre_mm.utils.modules import no_autocast


def similarities(queries: Tensor, keys: Tensor, queue: Tensor) -> tuple[Tensor, Tensor]:
    """Compute cosines of queries with their keys and with the queue, in fp32 under autocast too.

    Args:
        queries: (B, C), of any length.
        keys: (B, C), fp32, of unit length.
        queue: (C, K), of unit length.

    Returns:
        (B, 1) and (B, K).

    Raises:
        ValueError: The queue is of another width.
    """
    if keys.shape[1] != len(queue):
        raise ValueError(f'the projector (neck) gives {keys.shape[1]} channels, but feat_dim={len(queue)}')
    with no_autocast(queries):
        queries = F.normalize(queries.float(), dim=1)
        # A copy of the queue, which changes before the backward pass.
        return (queries * keys).sum(dim=1, keepdim=True), queries @ queue.clone()


@torch.no_grad()
def enqueue(queue: Tensor, pointer: Tensor, keys: Tensor) -> Tensor:
    """Replace the oldest keys by those of all processes, in rank order, around the end of the queue.

    Args:
        queue: (C, K), changed in place.
        pointer: (1,) int64, the place of the oldest key.
        keys: (B, C), of this process; B is the same in all.

    Returns:
        The pointer after the new keys.

    Raises:
        ValueError: The joined batch is longer than the queue.
    """
    keys = torch.cat(all_gather(keys)).to(queue.dtype)
    count, length = len(keys), queue.shape[1]
    if count > length:
        raise ValueError(
            f'queue_len={length} is smaller than the batch of {count} images over all processes: raise '
            'model.queue_len or lower train_dataloader.batch_size'
        )
    queue[:, (pointer + torch.arange(count, device=keys.device)) % length] = keys.T
    return (pointer + count) % length
