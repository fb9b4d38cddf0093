"""Linear evaluation with augmented images: scores of every epoch, drop-path, resuming, bad input."""

import json

import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close

from repre_mm.evaluation import EncoderName, EvaluationError, linear_eval, load_frozen_encoder
from repre_mm.evaluation.classifiers import LinearClassifiers
from repre_mm.evaluation.features import drop_paths, encode
from repre_mm.evaluation.linear_protocols import PROTOCOLS
from repre_mm.models.taps import pooled
from repre_mm.utils.errors import UserError

QUICK = {'workers': 0, 'progress': False, 'batch_size': 8}


def encoder(config, protocol, seed=0, **cfg_options):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(cfg_options)
    return load_frozen_encoder(EncoderName(cfg, 'random'), seed=seed, **PROTOCOLS[protocol].backbone_options)


@pytest.mark.parametrize(('protocol', 'width'), [('mocov3', 24), ('dino', 96), ('moby', 24)])
def test_tells_colours_apart(config, data_root, protocol, width):
    result = linear_eval(encoder(config, protocol), data_root, protocol=protocol, epochs=8, lrs=(1e-6, 1.0), **QUICK)
    linear = result['linear']
    assert result['feature_width'] == width
    assert linear['protocol'] == f'linear-{protocol}-v2'
    assert linear['top1'] == linear['per_lr'][1.0] > 90
    assert linear['best_lr'] == 1.0
    assert linear['top5'] is None
    assert (linear['settings']['epochs'], linear['settings']['batch_size'], linear['settings']['lrs']) == (
        8,
        8,
        [1e-6, 1],
    )
    json.dumps(result)


def test_goes_on_after_a_stop_as_if_there_had_been_none(config, data_root, tmp_path, monkeypatch):
    frozen = encoder(config, 'moby')
    options = {'protocol': 'moby', 'epochs': 2, **QUICK}
    # Rates at which nothing is perfect yet, and weights that show every step.
    finals = []
    step = LinearClassifiers.step

    def stop_at(count: int | None):
        calls = []

        def counting(self, *args):
            if len(calls) == count:
                raise KeyboardInterrupt
            calls.append(None)
            step(self, *args)
            finals.append(self.weight.detach().clone())

        monkeypatch.setattr(LinearClassifiers, 'step', counting)
        return calls

    state = tmp_path / 'state'
    stop_at(None)
    whole = linear_eval(frozen, data_root, **options)
    expected = finals[-1]
    stop_at(5)  # three steps an epoch: in the middle of the second
    with pytest.raises(KeyboardInterrupt):
        linear_eval(frozen, data_root, state=state, **options)
    assert state.is_dir()
    with pytest.raises(EvaluationError, match=r'other settings \(seed, weights\)'):
        linear_eval(encoder(config, 'moby', seed=1), data_root, state=state, **options, seed=1)
    steps = stop_at(None)
    resumed = linear_eval(frozen, data_root, state=state, **options)
    assert len(steps) == 3
    torch.testing.assert_close(finals[-1], expected, rtol=0, atol=0)
    assert resumed == whole
    assert not state.exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'protocol': 'simclr'}, 'choose from mocov3, dino, moby'),
        ({'protocol': 'dino', 'lrs': (0.1, -1.0)}, 'must be positive'),
        ({'protocol': 'dino', 'data_root': None}, 'no data folder'),
    ],
)
def test_bad_input(config, data_root, options, message):
    with pytest.raises(UserError, match=message):
        linear_eval(encoder(config, 'dino'), **{'data_root': data_root, **options})


def test_a_shallow_vit_cannot_give_dino_its_four_tokens(config, data_root):
    shallow = encoder(config, 'dino', **{'model.algorithm.backbone.arch.num_layers': 3})
    with pytest.raises(UserError, match='4 blocks with class tokens'):
        linear_eval(shallow, data_root, protocol='dino', **QUICK)


def test_best_epoch_is_reported_beside_the_last(config, data_root, monkeypatch):
    scores = iter([([10.0, 60.0], [70.0, 80.0]), ([50.0, 20.0], [90.0, 30.0]), ([40.0, 30.0], None)])
    monkeypatch.setattr(LinearClassifiers, 'score', lambda *args: next(scores))
    options = {'protocol': 'mocov3', 'epochs': 3, 'lrs': (0.1, 1.0), **QUICK}
    linear = linear_eval(encoder(config, 'mocov3'), data_root, **options)['linear']
    assert (linear['top1'], linear['best_lr'], linear['per_lr']) == (40.0, 0.1, {0.1: 40.0, 1.0: 30.0})
    assert linear['best_epoch'] == {'epoch': 1, 'lr': 1.0, 'top1': 60.0, 'top5': 80.0}


def test_only_drop_path_acts_in_the_frozen_encoder(config, data_root, monkeypatch):
    frozen = encoder(config, 'moby', **{'model.algorithm.backbone.drop_rate': 0.5})
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    still = encode(frozen, images)
    assert_close(encode(frozen, images), still, rtol=0, atol=0)
    parts = drop_paths(frozen.module)
    draws = torch.rand(len(parts), 8, generator=torch.Generator().manual_seed(0))
    dropped = encode(frozen, images, draws=draws)
    assert not torch.allclose(dropped, still)
    # Drop-path by its own code, which keeps an image where 1 - p + draw >= 1.
    numbers = [row for part, row in zip(parts, draws, strict=True) if part.drop_prob]
    monkeypatch.setattr(torch, 'rand', lambda shape, **_: numbers.pop(0).view(shape))
    for part in parts:
        part.train()
    with torch.no_grad():
        assert_close(dropped, pooled(frozen.module(frozen.normalised(images))))
    assert not numbers
    with pytest.raises(EvaluationError, match='has no drop-path'):
        timm_model = load_frozen_encoder(EncoderName('timm:vit_tiny_patch16_224,depth=1', 'random'))
        linear_eval(timm_model, data_root, protocol='moby')
