"""Average precision against scikit-learn's, which the study uses."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

from repre_mm.studies.parts.precision import average_precision


def test_scores_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(60, 5, generator=generator), dim=1)
    labels = torch.randint(3, (60,), generator=generator)
    similarities = vectors @ vectors.T
    expected = torch.tensor(
        [average_precision_score((labels == labels[i]).numpy(), similarities[i].numpy()) for i in range(60)]
    )
    result = average_precision(vectors, labels, ('eye', 'leg', 'wing', 'tail'), rows=7)
    assert result['ap'] == pytest.approx(100 * expected.mean().item())
    per_class = {name: 100 * expected[labels == i].mean().item() for i, name in enumerate(('eye', 'leg', 'wing'))}
    assert result['per_class'] == pytest.approx(per_class)  # no tail is there
    assert result['map'] == pytest.approx(sum(per_class.values()) / 3)


def test_one_group_per_class_is_perfect():
    vectors = torch.eye(2).repeat_interleave(3, dim=0)
    result = average_precision(vectors, torch.tensor([0, 0, 0, 1, 1, 1]), ('a', 'b'))
    assert result['ap'] == result['map'] == 100
