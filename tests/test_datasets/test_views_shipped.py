"""The views of configs/_base_/views are those that the papers or their authors' code publish."""

from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).parents[2] / 'configs' / 'pretrain'


class View(NamedTuple):
    """What a method publishes of one view; probabilities, and ranges as its code's arguments."""

    blur: float
    solarize: float = 0.0
    crop: tuple = (0.08, 1.0)
    jitter: tuple = (0.4, 0.4, 0.2, 0.1)  # brightness, contrast, saturation, hue
    interpolation: str = 'bilinear'
    size: int = 224


SIMCLR = View(blur=0.5, jitter=(0.8, 0.8, 0.8, 0.2), interpolation='bicubic')
MOCOV2 = View(blur=0.5, jitter=(0.4, 0.4, 0.4, 0.1), crop=(0.2, 1.0))
ONE, OTHER = View(blur=1.0), View(blur=0.1, solarize=0.2)


def _bicubic(view: View, crop: tuple = (0.08, 1.0), size: int = 224) -> View:
    return view._replace(interpolation='bicubic', crop=crop, size=size)


def _dino(middle: tuple, small: tuple, count: int) -> list[View]:
    return [_bicubic(ONE, middle), _bicubic(OTHER, middle)] + count * [_bicubic(View(blur=0.5), small, 96)]


# Sources: the heads of configs/_base_/views/*.py.
PUBLISHED = {
    'simclr/simclr_vit-small-p16_8xb512-amp-coslr-300e_in1k': [SIMCLR, SIMCLR],
    'byol/byol_vit-small-p16_8xb512-amp-coslr-300e_in1k': [_bicubic(ONE), _bicubic(OTHER)],
    'mocov2/mocov2_vit-small-p16_8xb128-amp-coslr-300e_in1k': [MOCOV2, MOCOV2],
    'simsiam/simsiam_vit-small-p16_8xb128-amp-coslr-300e_in1k': [MOCOV2, MOCOV2],
    'mocov3/mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k': [ONE, OTHER],
    'moby/moby_swin-tiny_8xb64-amp-coslr-300e_in1k': [ONE, OTHER],
    'dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k': _dino((0.4, 1.0), (0.05, 0.4), 8),
    'dino/dino_vit-small-p16_16xb64-amp-coslr-800e_in1k': _dino((0.25, 1.0), (0.05, 0.25), 10),
    'dino/dino_vit-base-p16_32xb32-amp-coslr-800e_in1k': _dino((0.25, 1.0), (0.05, 0.25), 10),
    'dino/dino_swin-tiny_16xb32-amp-coslr-100e_in1k': _dino((0.4, 1.0), (0.05, 0.4), 8),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_recipes_are_those_published(name):
    step = Config.fromfile(CONFIGS / f'{name}.py').train_dataloader.dataset.pipeline[0]
    assert step.type == 'repre_mm.FastMultiView'
    views = [_view(steps) for count, steps in zip(step.num_views, step.transforms, strict=True) for _ in range(count)]
    assert views == PUBLISHED[name]


def _view(configs: list[dict]) -> View:
    steps = {step.type: step for step in configs}
    crop, apply, blur = (steps.pop(name) for name in ('RandomResizedCrop', 'RandomApply', 'GaussianBlur'))
    (jitter,) = apply.transforms
    solarize = steps.pop('Solarize', {'prob': 0.0, 'thr': 128})
    assert (apply.prob, steps.pop('RandomFlip').prob, steps.pop('RandomGrayscale').prob) == (0.8, 0.5, 0.2)
    assert (blur.magnitude_range, blur.magnitude_std, solarize['thr'], steps) == ((0.1, 2.0), 'inf', 128, {})
    return View(
        blur=blur.prob,
        solarize=solarize['prob'],
        crop=crop.crop_ratio_range,
        jitter=(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue),
        interpolation=crop.get('interpolation', 'bilinear'),
        size=crop.scale,
    )
