"""The linear probe against scikit-learn and against its own promises."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from repre_mm.evaluation import linear_probe


def _data(classes: int = 7, train: int = 1500, val: int = 2000, width: int = 16, noise: float = 1.6, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=generator)
    labels = torch.randint(classes, (train + val,), generator=generator)
    features = centres[labels] + noise * torch.randn(train + val, width, generator=generator)
    # Scales and offsets as different as those of real channels.
    features = features * torch.logspace(-3, 2, width) + torch.linspace(-50, 50, width)
    return features[:train], labels[:train], features[train:], labels[train:]


def _sklearn(train, labels, val, val_labels, c: float) -> float:
    scaler = StandardScaler().fit(train.double().numpy())
    model = LogisticRegression(C=c, max_iter=2000, tol=1e-8)
    model.fit(scaler.transform(train.double().numpy()), labels.numpy())
    return 100 * model.score(scaler.transform(val.double().numpy()), val_labels.numpy())


def test_sgd_converges_to_the_optimum():
    data = _data()
    result = linear_probe(*data, epochs=50, batch_size=256, lrs=(0.3,))
    assert result['top1'] == pytest.approx(_sklearn(*data, c=1e3), abs=0.5)
    assert result['best_lr'] == 0.3


def test_sweep_takes_the_best_rate():
    data = _data()
    result = linear_probe(*data, epochs=20, batch_size=128, lrs=(1e-7, 0.01, 0.1))
    assert list(result['per_lr']) == [1e-7, 0.01, 0.1]
    assert result['per_lr'][1e-7] < result['per_lr'][result['best_lr']] == max(result['per_lr'].values())
    assert result['top1'] > _sklearn(*data, c=1e3) - 1
    assert result['protocol'] == 'linear-cached-v1'
    assert result['settings'] == {'epochs': 20, 'batch_size': 128, 'seed': 0}


def test_validation_labels_do_not_choose_the_rate():
    train, labels, val, val_labels = _data(train=300, val=100)
    first = linear_probe(train, labels, val, val_labels, epochs=5, batch_size=64)
    other = linear_probe(train, labels, val, val_labels.flip(0), epochs=5, batch_size=64)
    assert first['per_lr'] == other['per_lr']
    assert first['top1'] != other['top1']
    assert 'held out' in first['selection']


def test_same_seed_same_result():
    data, options = _data(train=300, val=100), {'epochs': 3, 'batch_size': 32}
    assert linear_probe(*data, **options) == linear_probe(*data, **options)
    assert linear_probe(*data, **options)['per_lr'] != linear_probe(*data, **options, seed=1)['per_lr']


def test_top5_counts_the_five_best_guesses():
    data = _data(noise=2.5)
    result = linear_probe(*data, epochs=10, batch_size=256)
    assert result['top1'] < result['top5'] < 100
    few = _data(classes=4, train=200, val=50)
    assert linear_probe(*few, epochs=2)['top5'] is None


def test_scale_and_constant_channels_do_not_matter():
    train, labels, val, val_labels = _data(train=300, val=200)
    expected = linear_probe(train, labels, val, val_labels, epochs=5, batch_size=64)
    train, val = (torch.cat([part * 1000 - 3, torch.full((len(part), 2), 0.1)], dim=1) for part in (train, val))
    assert linear_probe(train, labels, val, val_labels, epochs=5, batch_size=64)['top1'] == pytest.approx(
        expected['top1'], abs=1
    )


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'lrs': (0.1, -1.0)}, 'lrs'),
        ({'epochs': 0}, 'epochs=0'),
        ({'train_labels': torch.zeros(3, dtype=torch.long)}, '10 training images'),
        ({'val_labels': torch.full((40,), 9)}, 'validation label 9 has no training images'),
        ({'val_features': torch.rand(0, 16), 'val_labels': torch.zeros(0)}, 'validation images'),
    ],
)
def test_bad_input(changes, message):
    names = ('train_features', 'train_labels', 'val_features', 'val_labels')
    arguments = dict(zip(names, _data(train=60, val=40), strict=True))
    with pytest.raises(ValueError, match=message):
        linear_probe(**{**arguments, **changes})
