"""The minimum of the cross-entropy: against scikit-learn, for labels and for shares of labels."""

import torch
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from repre_mm.evaluation.logistic import Standardise, fit_logistic

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(3, (400,), generator=GENERATOR)
# Scales and offsets as different as those of real channels, and one that is constant.
FEATURES = torch.randn(3, 6, generator=GENERATOR)[LABELS] + torch.randn(400, 6, generator=GENERATOR)
FEATURES = torch.cat([FEATURES * torch.logspace(-3, 2, 6) + 7, torch.full((400, 1), 0.1)], dim=1)
OPTIONS = {'num_classes': 3, 'weight_decay': 1e-2, 'max_iterations': 500}


def test_labels_as_in_scikit_learn():
    standardise = Standardise(FEATURES)
    inputs = standardise(FEATURES)
    assert_close(inputs.std(dim=0, correction=0), torch.tensor([1.0] * 6 + [0.0]), atol=1e-5, rtol=0)
    fit = fit_logistic(FEATURES, LABELS, standardise, **OPTIONS)
    reference = LogisticRegression(C=1 / (400 * 1e-2), tol=1e-10, max_iter=5000).fit(inputs.double(), LABELS)
    assert fit.converged
    assert_close(fit.weight.T, torch.from_numpy(reference.coef_), atol=1e-3, rtol=1e-3)
    shift = torch.from_numpy(reference.intercept_)
    assert_close(fit.bias - fit.bias.mean(), shift - shift.mean(), atol=1e-3, rtol=1e-3)


def test_shares_weigh_as_many_rows():
    standardise = Standardise(FEATURES)
    shares = torch.nn.functional.one_hot(LABELS, 3).float()
    assert_close(
        fit_logistic(FEATURES, shares, standardise, **OPTIONS)[:2],
        fit_logistic(FEATURES, LABELS, standardise, **OPTIONS)[:2],
    )
    mixed = 0.75 * shares + 0.25 * shares.roll(1, dims=1)
    four_fold = [LABELS, LABELS, LABELS, (LABELS + 1) % 3]
    assert_close(
        fit_logistic(FEATURES, mixed, standardise, **OPTIONS).weight,
        fit_logistic(FEATURES.repeat(4, 1), torch.cat(four_fold), standardise, **OPTIONS).weight,
        atol=1e-4,
        rtol=1e-3,
    )


def test_says_when_it_stopped_early():
    fit = fit_logistic(FEATURES, LABELS, Standardise(FEATURES), **{**OPTIONS, 'max_iterations': 1})
    assert not fit.converged and fit.slope > 1e-6
