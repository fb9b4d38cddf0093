"""Augmentation on the device: views against the loader's, and what a model gets."""

import numpy as np
import pytest
import torch
from fixtures.augmentation import JITTER, RECIPE, colourful_images, shipped
from fixtures.models import ENCODERS, MEAN, STD, mocov3
from mmengine.registry import MODELS
from torch import Tensor

from repre_mm.datasets import FastMultiView
from repre_mm.engine.resilience.replay import seed_step
from repre_mm.models.preprocessor import DeviceAugmentPreprocessor, ViewRecipe, augment, preprocessor


@pytest.fixture(scope='module')
def images() -> Tensor:
    return colourful_images()


def test_nothing_waits_for_the_device():
    """Tensors without memory cannot be read: one look at a pixel from the host would raise."""
    recipe = ViewRecipe(RECIPE)
    changes = recipe.draw(16, torch.Generator().manual_seed(0))
    assert len({change.kernel for change in changes}) == 7
    assert augment(torch.empty(16, 3, 8, 8, device='meta'), changes, recipe.blur_radius).shape == (16, 3, 8, 8)


@pytest.mark.parametrize('name', ['mocov3', 'simclr'])
def test_views_look_like_the_loaders(images, name):
    """Mean, spread and sharpness of the pixels over many draws: FastMultiView in 8 bits on the CPU, and here."""
    counts, recipes = shipped(name)
    crop = dict(type='RandomResizedCrop', scale=32, crop_ratio_range=(1.0, 1.0), backend='pillow')
    fast = FastMultiView(counts, [[crop, *configs] for configs in recipes])
    cut = FastMultiView(counts, [[crop] for _ in recipes])
    device = DeviceAugmentPreprocessor(counts, recipes, to_rgb=True)
    bgr, draws = images[0].flip(0).permute(1, 2, 0).numpy().copy(), 400
    ours = [torch.from_numpy(view.copy()).permute(2, 0, 1).repeat(draws, 1, 1, 1) for view in cut({'img': bgr})['img']]
    ours = torch.stack(device({'inputs': ours, 'data_samples': None}, True)['inputs'], 1)
    theirs = [torch.from_numpy(np.stack(fast({'img': bgr})['img'])) for _ in range(draws)]
    theirs = torch.stack(theirs).flip(-1).permute(0, 1, 4, 2, 3).float()
    assert ours.shape == theirs.shape == (draws, 2, 3, 32, 32)
    for moment in (
        lambda x: x.mean((-2, -1)),
        lambda x: x.std((-2, -1)),
        lambda x: x.diff(dim=-1).abs().mean((-2, -1)),
    ):
        a, b = moment(ours), moment(theirs)
        error = ((a.var(0) + b.var(0)) / draws).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()


# The data preprocessor.


def build(num_views=(1, 1), transforms=(RECIPE, RECIPE), **options) -> DeviceAugmentPreprocessor:
    kind = dict(type='repre_mm.DeviceAugmentPreprocessor', num_views=num_views, transforms=transforms)
    return MODELS.build({**kind, 'mean': MEAN, 'std': STD, 'to_rgb': True, **options})


def batch_of(size: int, *sides: int) -> dict:
    torch.manual_seed(9)
    views = [torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8) for side in sides]
    return {'inputs': views, 'data_samples': [None] * size}


def test_gives_what_mmpretrains_gives():
    """Same shapes, types and keys; and the same numbers where nothing is to be augmented."""
    theirs = MODELS.build(dict(type='mmpretrain.SelfSupDataPreprocessor', mean=MEAN, std=STD, to_rgb=True))
    ours, data = build([1, 1, 3], [RECIPE, [], RECIPE]), batch_of(4, 32, 32, 16, 16, 16)
    expected, trained = theirs(data, True), ours(data, True)
    assert trained.keys() == expected.keys()
    assert trained['data_samples'] == expected['data_samples']
    for i, (a, b) in enumerate(zip(trained['inputs'], expected['inputs'], strict=True)):
        assert (a.dtype, a.shape, a.is_contiguous()) == (torch.float32, b.shape, True)
        if i == 1:
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        else:
            assert not torch.allclose(a, b)
    state = torch.get_rng_state()
    for a, b in zip(ours(data)['inputs'], expected['inputs'], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_view_and_image_differs():
    view = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8).repeat(12, 1, 1, 1)
    jitter_always = [JITTER]
    one, two = build(2, [jitter_always])({'inputs': [view, view], 'data_samples': None}, True)['inputs']
    assert len(torch.cat([one, two]).flatten(1).unique(dim=0)) == 24


def test_draws_follow_from_run_rank_and_iteration(monkeypatch):
    ours, data = build(), batch_of(8, 16, 16)

    def views(iteration: int, rank: int = 0, before: int = 0) -> Tensor:
        torch.rand(before)  # random numbers that something else drew before
        monkeypatch.setattr(preprocessor, 'get_rank', lambda: rank)
        seed_step(3, 0, iteration)
        return torch.stack(ours(data, True)['inputs'])

    first = views(5)
    assert torch.equal(first, views(5, before=7))
    assert not torch.equal(first, views(6))
    # Ranks whose streams are alike (randomness.diff_rank_seed=False) augment differently all the same.
    assert not torch.equal(first, views(5, rank=1))
    # Without those seeds too, no two batches are augmented alike.
    assert not torch.equal(*(torch.stack(ours(data, True)['inputs']) for _ in range(2)))


def test_bf16_and_gradients_stay_out():
    ours, data = build(), batch_of(6, 16, 16)
    torch.manual_seed(1)
    exact = ours(data, True)['inputs']
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        under_bf16 = ours(data, True)['inputs']
    for a, b in zip(exact, under_bf16, strict=True):
        assert not b.requires_grad
        assert torch.equal(a, b)


def test_repre_reconstructs_view_1_before_normalisation(monkeypatch):
    backbone, size = ENCODERS['vit']
    algorithm = mocov3(backbone)
    settings = dict(type='repre_mm.DeviceAugmentPreprocessor', num_views=2, transforms=[RECIPE], to_rgb=True)
    algorithm['data_preprocessor'] = dict(settings, mean=MEAN, std=STD)
    model = MODELS.build(dict(type='repre_mm.RePreAlgorithm', algorithm=algorithm))
    data, targets = batch_of(4, size, size), []
    decode = model.repre_decoder.loss
    monkeypatch.setattr(model.repre_decoder, 'loss', lambda maps, view: targets.append(view) or decode(maps, view))
    torch.manual_seed(2)
    model(**model.data_preprocessor(data, True), mode='loss')
    torch.manual_seed(2)
    augmented = MODELS.build(settings)(data, True)['inputs'][0] / 255
    torch.testing.assert_close(targets[0], augmented, rtol=0, atol=1e-6)
    assert -1e-6 <= targets[0].min() < 0.1
    assert 0.9 < targets[0].max() <= 1 + 1e-6


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match='the loader gives 3 views and the data preprocessor has steps for 2'):
        build()(batch_of(2, 8, 8, 8), True)
    with pytest.raises(ValueError, match='gives one view, not a list'):
        build()({'inputs': batch_of(2, 8)['inputs'][0], 'data_samples': None}, True)
    with pytest.raises(ValueError, match=r'uint8.*not in torch\.float32'):
        build(1, [RECIPE])({'inputs': [torch.rand(2, 3, 8, 8)], 'data_samples': None}, True)
    with pytest.raises(ValueError, match='2 numbers for 1 lists'):
        build([1, 1], [RECIPE])
