"""Linear classifiers trained side by side equal ones trained alone."""

import pytest
import torch
from timm.loss import LabelSmoothingCrossEntropy
from torch import nn

from repre_mm.evaluation.classifiers import LinearClassifiers


@pytest.mark.parametrize(('nesterov', 'smoothing', 'clip'), [(False, 0.0, None), (True, 0.1, 5.0), (True, 0.1, 0.05)])
def test_each_classifier_is_trained_as_one_alone(nesterov, smoothing, clip):
    generator = torch.Generator().manual_seed(3)
    options = {'device': 'cpu', 'init_std': 0.1, 'nesterov': nesterov}
    options |= {'label_smoothing': smoothing, 'clip': clip}
    classifiers = LinearClassifiers(6, 4, (0.1, 1.0), generator=generator, **options)
    loss = LabelSmoothingCrossEntropy(smoothing) if smoothing else nn.CrossEntropyLoss()
    start = classifiers.weight[0].detach().clone()
    assert torch.equal(start, classifiers.weight[1])
    assert 0.05 < start.std() < 0.2
    batches = [(torch.randn(8, 6), torch.randint(4, (8,)), factor) for factor in (1.0, 0.6, 0.2)]
    for batch in batches:
        classifiers.step(*batch)
    for index, lr in enumerate((0.1, 1.0)):
        alone = nn.Linear(6, 4)
        with torch.no_grad():
            alone.weight.copy_(start.T)
            alone.bias.zero_()
        groups = [{'params': [alone.weight]}, {'params': [alone.bias]}]
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=nesterov)
        for features, labels, factor in batches:
            for group in optimizer.param_groups:
                group['lr'] = lr * factor
            optimizer.zero_grad()
            loss(alone(features), labels).backward()
            if clip:
                nn.utils.clip_grad_norm_(alone.parameters(), clip)
            optimizer.step()
        torch.testing.assert_close(classifiers.weight[index].detach(), alone.weight.detach().T)
        torch.testing.assert_close(classifiers.bias[index].detach()[0], alone.bias.detach())


def test_scores():
    classifiers = LinearClassifiers(2, 6, (0.1, 1.0), device='cpu')
    with torch.no_grad():
        # Each feature is a row of logits; the second classifier has diverged for the first.
        classifiers.weight[0] = torch.tensor([[6.0, 5, 4, 3, 2, 1], [1.0, 2, 3, 4, 5, 6]])
        classifiers.weight[1] = torch.tensor([[float('nan'), 9, 1, 1, 1, 1], [6.0, 5, 4, 3, 2, 1]])
    batches = [(torch.tensor([[1.0, 0.0]]), torch.tensor([1])), (torch.tensor([[0.0, 1.0]]), torch.tensor([5]))]
    classifiers.weight.data[1, 0, 0] = float('inf')
    top1, top5 = classifiers.score(batches[:1])
    assert (top1, top5) == ([0.0, 0.0], [100.0, 0.0])
    classifiers.weight.data[1, 0, 0] = 0
    assert classifiers.score(batches) == ([50.0, 50.0], [100.0, 50.0])
