"""Train and score linear classifiers side by side on the same features, one per learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, all_reduce_params
from torch import Tensor, nn
from tqdm import tqdm

from repre_mm.evaluation.resuming import EvaluationState

#: Pairs of features (B, C), float32, and labels (B,).
Batches = Iterable[tuple[Tensor, Tensor]]
#: Top-1 and top-5 (None for five classes or fewer) in percent, per classifier.
Scores = tuple[list[float], list[float] | None]


class LinearClassifiers(nn.Module):
    """L classifiers (C -> K), one per learning rate: one product for all, independent gradients, SGD, momentum 0.9.

    Several processes train and score them together, each on its part of every batch, which may be empty.

    Args:
        width: C, of the features.
        num_classes: K.
        lrs: The learning rates (L values), as the optimizer gets them.
        device: Where the features are.
        init_std: Deviation of the initial weights, the same in all classifiers.
        nesterov: Of SGD.
        label_smoothing: Of the cross-entropy.
        clip: Norm at which the gradient of each classifier, weight and bias together, is clipped; None: not at all.
        generator: Of the initial weights, and of what the batches draw; saved with the classifiers.
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
        self.generator = generator or torch.Generator()
        self.optimizer = torch.optim.SGD(self.parameters(), lr=1.0, momentum=0.9, nesterov=nesterov)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) -> logits (L, B, K)."""
        return features @ self.weight + self.bias

    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """Step each classifier on its mean cross-entropy; features (B, C), labels (B,); ``factor`` of every rate."""
        logits, targets = self(features).flatten(0, 1), labels.repeat(len(self.lrs))
        loss = F.cross_entropy(logits, targets, reduction='sum', label_smoothing=self.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        rows = torch.full((1,), float(len(labels)), device=features.device)
        all_reduce_params([self.weight.grad, self.bias.grad, rows], op='sum')
        # SGD is linear in the gradient: a gradient times each classifier's rate is a rate for each classifier.
        scale = self.lrs / rows  # of the sum over all rows
        if self.clip is not None:
            norms = torch.cat([self.weight.grad, self.bias.grad], dim=1).flatten(1).norm(dim=1) / rows  # (L,)
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
        epochs: int,
        factor: Callable[[int, int], float],
        score: Callable[[], Scores] = lambda: ([], None),
        name: str,
        progress: bool,
        state: EvaluationState,
    ) -> list[Scores]:
        """Train: the one loop of all linear evaluations.

        Args:
            batches: Epoch, from 0 -> its batches.
            steps: Their number.
            epochs: How many, with those of an interrupted training.
            factor: ``(epoch, step) -> factor`` of every rate, both from 0.
            score: Called after each epoch.
            name: For the progress bar, and for the file of ``state``.
            progress: Show it, with the time left.
            state: Where to go on from, and to save after every epoch.

        Returns:
            The scores of each epoch.
        """
        saved = state.load(name) or {'history': []}
        history = saved['history']
        if 'classifiers' in saved:
            self.load_state_dict(saved['classifiers'])
        total, initial = epochs * steps, len(history) * steps
        with tqdm(total=total, initial=initial, desc=name, unit='batch', disable=not progress) as bar:
            for epoch in range(len(history), epochs):
                for step, (features, labels) in enumerate(batches(epoch)):
                    self.step(features, labels.to(features.device), factor(epoch, step))
                    bar.update()
                history.append(score())
                if history[-1][0]:
                    words = f'epoch {epoch + 1}/{epochs}, top-1 {max(history[-1][0]):.2f} %'
                    bar.set_postfix_str(words, refresh=False)
                state.save(name, history=history, classifiers=self.state_dict())
        return history

    def get_extra_state(self) -> dict[str, Any]:
        """Keep the optimizer's and the generator's state in the ``state_dict``: a stopped training goes on exactly."""
        return {'optimizer': self.optimizer.state_dict(), 'generator': self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore it."""
        self.optimizer.load_state_dict(state['optimizer'])
        self.generator.set_state(state['generator'])

    @torch.no_grad()
    def score(self, batches: Batches) -> Scores:
        """Compute the share of rows, in percent, whose label is the best guess, and among the five best."""
        ranks = (1, 5) if self.weight.shape[2] > 5 else (1,)
        totals = torch.zeros(len(ranks) + 1, len(self.lrs), dtype=torch.float64)  # hits, and last all rows
        for features, labels in batches:
            logits = self(features)
            # The NaN of a diverged classifier must not count as a guess.
            sound = logits.isfinite().all(dim=2, keepdim=True)
            found = sound & (logits.topk(ranks[-1]).indices == labels.to(features.device)[:, None])  # (L, B, guesses)
            totals[:-1] += torch.stack([found[..., :guesses].sum(dim=(1, 2)) for guesses in ranks]).cpu()
            totals[-1] += len(labels)
        all_reduce(totals)
        top1, *top5 = (100 * totals[:-1] / totals[-1]).tolist()
        return top1, top5[0] if top5 else None
