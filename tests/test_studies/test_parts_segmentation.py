"""The linear head on cells, and the overlap of what it labels."""

import torch
from torch.testing import assert_close

from repre_mm.studies.parts.segmentation import LinearHead, confusion, fit_linear_head, intersection_over_union


def test_head_without_informative_channels_gives_the_proportions():
    shares = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1.0]])
    head = fit_linear_head(torch.ones(4, 2), shares)
    assert head.converged
    proportions = head(torch.ones(2, 1, 1)).softmax(0).flatten()
    assert_close(proportions, shares.mean(dim=0), rtol=1e-3, atol=1e-3)


def test_head_separates_on_any_scale():
    features = torch.tensor([[1e4 + 1, 1e-4], [1e4 + 2, 2e-4], [1e4 + 9, 9e-4], [1e4 + 8, 8e-4]])
    head = fit_linear_head(features, torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
    guesses = head(features.T[..., None]).argmax(dim=0).flatten()
    assert guesses.tolist() == [0, 0, 1, 1]


def test_overlap_counts_pixels_at_the_size_of_the_labels():
    logits = torch.tensor([[[9.0, 0.0]], [[0.0, 9.0]]])  # 2 classes, 1 x 2 cells
    labels = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1]])  # the left half is guessed 0, the right half 1
    counts = confusion(logits, labels)
    assert counts.tolist() == [[4, 1], [0, 3]]
    assert_close(intersection_over_union(counts), torch.tensor([80.0, 75.0], dtype=torch.float64))


def test_logits_rise_between_cells():
    head = LinearHead(torch.tensor([[1.0, -1.0]]), torch.zeros(2), True)
    logits = head(torch.tensor([[[-1.0, 3.0]]]))
    # Bilinear: the change of sign lies a quarter of the way from the left to the right cell.
    labels = torch.zeros(1, 16, dtype=torch.long)
    assert confusion(logits, labels)[0].tolist() == [10, 6]
