"""Train linear classifiers side by side by SGD on the same features, one per learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class LinearClassifiers:
    """L classifiers (C -> K), one per learning rate: one product for all, independent gradients, momentum 0.9.

    Args:
        width: C, of the features.
        num_classes: K.
        lrs: The learning rates (L values), as the optimizer gets them.
        device: Where the features are.
        init_std: Deviation of the initial weights, the same in all classifiers.
        nesterov: Of SGD.
        weight_decay: L2 penalty on the weights, not on the biases.
        label_smoothing: Of the cross-entropy.
        clip: Norm at which the gradient of each classifier, weight and bias together, is clipped; None: not at all.
        generator: Of the initial weights.
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        lrs: Sequence[float],
        *,
        device: torch.device | str,
        init_std: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        clip: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        start = torch.zeros(width, num_classes)
        if init_std:  # drawn on the CPU, so that a seed means the same everywhere
            start.normal_(std=init_std, generator=generator)
        self.weights = [start.clone().to(device).requires_grad_() for _ in lrs]
        self.biases = [torch.zeros(1, num_classes, device=device, requires_grad=True) for _ in lrs]
        self.lrs, self.label_smoothing, self.clip = tuple(lrs), label_smoothing, clip
        groups = [
            {'params': [w], 'lr': lr, 'weight_decay': weight_decay} for w, lr in zip(self.weights, lrs, strict=True)
        ]
        groups += [{'params': [b], 'lr': lr, 'weight_decay': 0.0} for b, lr in zip(self.biases, lrs, strict=True)]
        self.optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=nesterov)

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """Step each classifier on its mean cross-entropy; features (B, C), labels (B,); ``factor`` of every rate."""
        for group, lr in zip(self.optimizer.param_groups, self.lrs * 2, strict=True):
            group['lr'] = lr * factor
        # (B, C) @ (L, C, K) + (L, 1, K) -> (L, B, K)
        logits = features @ torch.stack(self.weights) + torch.stack(self.biases)
        # The sum over classifiers of each one's mean.
        targets = labels.repeat(len(self.lrs))
        options = {'reduction': 'sum', 'label_smoothing': self.label_smoothing}
        loss = F.cross_entropy(logits.flatten(0, 1), targets, **options) / len(labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip is not None:
            for pair in zip(self.weights, self.biases, strict=True):
                torch.nn.utils.clip_grad_norm_(pair, self.clip)
        self.optimizer.step()

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Weights (L, C, K) and biases (L, 1, K), detached."""
        return torch.stack(self.weights).detach(), torch.stack(self.biases).detach()

    def state_dict(self) -> dict[str, Any]:
        """State from which a stopped training continues."""
        return {
            'weights': [w.detach() for w in self.weights],
            'biases': [b.detach() for b in self.biases],
            'optimizer': self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        with torch.no_grad():
            for own, other in zip(self.weights + self.biases, state['weights'] + state['biases'], strict=True):
                own.copy_(other)
        self.optimizer.load_state_dict(state['optimizer'])


def count_hits(logits: Tensor, labels: Tensor, guesses: int = 1) -> Tensor:
    """Count the rows whose label (B,) is among the best guesses of logits (L, B, K), per classifier: (L,)."""
    # The NaN of a diverged classifier must not count as a guess.
    sound = logits.isfinite().all(dim=2)
    found = (logits.topk(guesses, dim=2).indices == labels[:, None]).any(dim=2)
    return (found & sound).sum(dim=1).double()
