"""Train and score linear classifiers side by side on the same features, one per learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

#: Pairs of features (B, C), float32, and labels (B,).
Batches = Iterable[tuple[Tensor, Tensor]]
#: Top-1 and top-5 (None for five classes or fewer) in percent, per classifier.
Scores = tuple[list[float], list[float] | None]


class LinearClassifiers(nn.Module):
    """L classifiers (C -> K), one per learning rate: one product for all, independent gradients, SGD, momentum 0.9.

    Args:
        width: C, of the features.
        num_classes: K.
        lrs: The learning rates (L values), as the optimizer gets them.
        device: Where the features are.
        init_std: Deviation of the initial weights, the same in all classifiers.
        nesterov: Of SGD.
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
        label_smoothing: float = 0.0,
        clip: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        start = torch.zeros(width, num_classes)
        if init_std:  # drawn on the CPU, so that a seed means the same everywhere
            start.normal_(std=init_std, generator=generator)
        self.weight = nn.Parameter(start.repeat(len(lrs), 1, 1).to(device))  # (L, C, K)
        self.bias = nn.Parameter(torch.zeros(len(lrs), 1, num_classes, device=device))
        self.lrs, self.label_smoothing, self.clip = torch.tensor(lrs, device=device), label_smoothing, clip
        self.optimizer = torch.optim.SGD(self.parameters(), lr=1.0, momentum=0.9, nesterov=nesterov)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) -> logits (L, B, K)."""
        return features @ self.weight + self.bias

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """Step each classifier on its mean cross-entropy; features (B, C), labels (B,); ``factor`` of every rate."""
        logits, targets = self(features).flatten(0, 1), labels.repeat(len(self.lrs))
        # The sum over classifiers of each one's mean.
        loss = F.cross_entropy(logits, targets, reduction='sum', label_smoothing=self.label_smoothing) / len(labels)
        self.optimizer.zero_grad()
        loss.backward()
        # SGD is linear in the gradient: a gradient times each classifier's rate is a rate for each classifier.
        scale = self.lrs
        if self.clip is not None:
            norms = torch.cat([self.weight.grad, self.bias.grad], dim=1).flatten(1).norm(dim=1)  # (L,)
            scale = scale * (self.clip / (norms + 1e-6)).clamp(max=1)
        for parameter in self.parameters():
            parameter.grad *= scale.view(-1, 1, 1)
        self.optimizer.param_groups[0]['lr'] = factor
        self.optimizer.step()

    def fit(
        self,
        batches: Callable[[int], Batches],
        *,
        steps: int,
        epochs: range,
        factor: Callable[[int, int], float],
        after_epoch: Callable[[int], str] = lambda epoch: '',
        name: str,
        progress: bool,
    ) -> None:
        """Train: the one loop of all linear evaluations.

        Args:
            batches: Epoch, from 0 -> its batches.
            steps: Their number.
            epochs: Those to train, without those of an interrupted training.
            factor: ``(epoch, step) -> factor`` of every rate, both from 0.
            after_epoch: What to do after an epoch; gives words for the progress bar.
            name: For the progress bar.
            progress: Show it, with the time left.
        """
        total, initial = epochs.stop * steps, epochs.start * steps
        with tqdm(total=total, initial=initial, desc=name, unit='batch', disable=not progress) as bar:
            for epoch in epochs:
                for step, (features, labels) in enumerate(batches(epoch)):
                    self.step(features, labels.to(features.device), factor(epoch, step))
                    bar.update()
                bar.set_postfix_str(after_epoch(epoch), refresh=False)

    def get_extra_state(self) -> dict[str, Any]:
        """Keep the optimizer's state in the ``state_dict``, so that a stopped training goes on exactly."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.optimizer.load_state_dict(state)

    @torch.no_grad()
    def score(self, batches: Batches) -> Scores:
        """Compute the share of rows, in percent, whose label is the best guess, and among the five best."""
        ranks = (1, 5) if self.weight.shape[2] > 5 else (1,)
        hits, count = torch.zeros(len(ranks), len(self.lrs), dtype=torch.float64), 0
        for features, labels in batches:
            logits = self(features)
            # The NaN of a diverged classifier must not count as a guess.
            sound = logits.isfinite().all(dim=2, keepdim=True)
            found = sound & (logits.topk(ranks[-1]).indices == labels.to(features.device)[:, None])  # (L, B, guesses)
            hits += torch.stack([found[..., :guesses].sum(dim=(1, 2)) for guesses in ranks]).cpu()
            count += len(labels)
        top1, *top5 = (100 * hits / count).tolist()
        return top1, top5[0] if top5 else None
