"""Linear and attentive probing of frozen tokens, as in the part-aware study.

Source: JiePKU/understand-ssl-part-aware, ``retrieval-classification/patch_lincls.py`` and ``command.sh``, whose
attentive block is that of lxtGH/CAE, ``models/modeling_finetune.py`` (``AttentiveBlock``): one query, one
cross-attention to all tokens, batch norm without parameters, a linear layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm


@dataclass(frozen=True)
class ProbeRecipe:
    """Settings of the study, the same for both data sets: SGD without weight decay, a cosine per epoch.

    Attributes:
        lr: For a batch of 256; the optimizer gets ``lr * batch_size / 256`` (``command.sh``: ``--lr``).
        epochs: ``--epochs``.
        batch_size: ``-b``; at most the number of regions.
        momentum: Of SGD.
    """

    lr: float
    epochs: int = 90
    batch_size: int = 1024
    momentum: float = 0.9


PROBES = {'linear': ProbeRecipe(lr=0.1), 'attentive': ProbeRecipe(lr=0.01)}


class LinearHead(nn.Module):
    """A linear layer on the class token: (B, T, C) -> (B, K)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = _classifier(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Classify."""
        return self.head(tokens[:, 0])


class AttentiveHead(nn.Module):
    """One learned query attends to all tokens: (B, T, C) -> (B, K).

    Query, keys and values each have a norm of their own; queries and values have a bias, keys have none.

    Args:
        width: C.
        classes: K.
        heads: The study takes 12 for every encoder; if 12 does not divide C, the largest divisor below it is taken.
    """

    def __init__(self, width: int, classes: int, heads: int = 12) -> None:
        super().__init__()
        self.heads = max(n for n in range(1, heads + 1) if width % n == 0)
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.q, self.v, self.proj = (nn.Linear(width, width) for _ in range(3))
        self.k = nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.head = _classifier(width, classes)
        for linear in (self.q, self.k, self.v, self.proj):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Classify."""
        B, _, C = tokens.shape
        query = self.q(self.norm_q(self.query.expand(B, -1, -1)))
        key, value = self.k(self.norm_k(tokens)), self.v(self.norm_v(tokens))
        # (B, T, C) -> (B, heads, T, C / heads)
        query, key, value = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)  # (B, heads, 1, C / heads)
        pooled = self.proj(mixed.transpose(1, 2).reshape(B, 1, C))[:, 0]
        return self.head(self.norm(pooled))


_HEADS = {'linear': LinearHead, 'attentive': AttentiveHead}


def probe(
    name: str,
    tokens: Tensor,
    labels: Tensor,
    val_tokens: Tensor,
    val_labels: Tensor,
    classes: int,
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: torch.device | str = 'cpu',
    progress: bool = True,
) -> dict[str, float]:
    """Train a probe and score it after every epoch.

    In the study's script batch norm uses the statistics of the validation batch too; here, as in CAE, validation uses
    the running ones. Patches are encoded once, since the study does not augment them.

    Args:
        name: A key of :data:`PROBES`.
        tokens: (R, T, C), class token first.
        labels: (R,).
        val_tokens: (V, T, C).
        val_labels: (V,).
        classes: K.
        epochs: Default: the recipe's.
        seed: Of the initial weights and the order of the batches.
        device: Of the probe.
        progress: Show a progress bar.

    Returns:
        In percent ``top1`` after the last epoch and ``best_top1`` of all epochs, which the study reports.
    """
    recipe = PROBES[name]
    epochs = epochs or recipe.epochs
    batch_size = min(recipe.batch_size, len(tokens))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = _HEADS[name](tokens.shape[2], classes).to(device)
    optimizer = torch.optim.SGD(head.parameters(), recipe.lr * batch_size / 256, momentum=recipe.momentum)
    base = optimizer.param_groups[0]['lr']
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for epoch in tqdm(range(epochs), desc=f'{name} probe', unit='epoch', disable=not progress):
        optimizer.param_groups[0]['lr'] = base * (1 + math.cos(math.pi * epoch / epochs)) / 2
        head.train()
        for rows in torch.randperm(len(tokens), generator=generator).split(batch_size):
            if len(rows) < 2:  # batch norm needs two
                continue
            loss = F.cross_entropy(head(tokens[rows].to(device).float()), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scores.append(_accuracy(head, val_tokens, val_labels, device))
    return {'top1': scores[-1], 'best_top1': max(scores)}


@torch.no_grad()
def _accuracy(head: nn.Module, tokens: Tensor, labels: Tensor, device: torch.device | str) -> float:
    head.eval()
    rows = zip(tokens.split(256), labels.split(256), strict=True)
    hits = sum((head(x.to(device).float()).argmax(dim=1).cpu() == y).sum().item() for x, y in rows)
    return 100 * hits / len(labels)


def _classifier(width: int, classes: int) -> nn.Linear:
    head = nn.Linear(width, classes)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    return head
