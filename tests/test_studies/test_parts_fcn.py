"""FCN segmentation of the study: features, schedule, windows, and that it learns."""

import pytest
import torch
from fixtures.encoders import DEPTH, WIDTH, mm_swin, mm_vit
from fixtures.models import MEAN, STD
from fixtures.parts import make_coco, make_cub
from torch.testing import assert_close

from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.models.taps import tokens_to_map
from repre_mm.studies.parts.cub import read_cub
from repre_mm.studies.parts.data import PartData
from repre_mm.studies.parts.fcn import (
    IGNORED,
    SCALES,
    Scales,
    _labelled,
    _TrainingCrops,
    _windows,
    block_maps,
    learning_rate,
    score_head,
    train_head,
)
from repre_mm.utils.errors import UserError

SMALL = Scales(train=(64, 32), test=(64, 32), crop=32, stride=21)


def test_features_are_block_outputs_before_the_final_norm():
    vit = mm_vit(arch=dict(num_layers=12))
    images, heard = torch.rand(1, 3, 32, 32), {}
    for index in (3, 5, 7, 11):
        vit.layers[index].register_forward_hook(lambda _, __, output, index=index: heard.update({index: output}))
    found = block_maps(vit, images)
    expected = torch.cat([tokens_to_map(heard[index], (4, 4)) for index in (3, 5, 7, 11)], dim=1)
    assert_close(found, expected.detach(), rtol=0, atol=0)


def test_stages_of_a_pyramid_come_to_one_resolution():
    maps = block_maps(mm_swin(), torch.rand(1, 3, 64, 64))
    assert maps.shape == (1, 8 + 16 + 16 + 32, 16, 16)  # stages 0, 1, 1 and 2 of 3
    assert block_maps(mm_vit(), torch.rand(1, 3, 32, 32)).shape == (1, 4 * WIDTH, 4, 4) and DEPTH == 3


def test_rate_warms_up_and_falls_to_zero():
    # mmcv's poly policy of power 1, min_lr 0, and linear warm-up of ratio 1e-6 over 1,500 iterations.
    assert learning_rate(0, 160_000) == pytest.approx(4e-4 * 1e-6)
    half = 4e-4 * (1 - 750 / 160_000)
    assert learning_rate(750, 160_000) == pytest.approx(half * (1 - 0.5 * (1 - 1e-6)))
    assert learning_rate(80_000, 160_000) == pytest.approx(2e-4)
    assert learning_rate(159_999, 160_000) == pytest.approx(4e-4 / 160_000)


def test_scales_are_those_of_the_study():
    assert (SCALES['ade20k'].crop, SCALES['ade20k'].stride) == (512, 341)
    assert SCALES['pascal-part'].train == (520, 520) and SCALES['pascal-part'].crop == 480
    assert SCALES['ade20k'].scaled(256) == Scales((1024, 256), (1024, 256), 256, 170)


def test_windows_cover_the_image():
    places = list(_windows(32, 70, SMALL))
    assert places == [(0, 0), (0, 21), (0, 38)]
    assert list(_windows(32, 32, SMALL)) == [(0, 0)]


def test_background_is_ignored_and_draws_do_not_depend_on_who_loads_them(tmp_path):
    data = make_coco(tmp_path, 3, seed=0)
    pixels, labels = _labelled(data, 'part', 0)
    masks = data.masks(0, *pixels.shape[:2])
    assert (labels[~masks.any(axis=0)] == IGNORED).all()
    for mask, part in zip(masks, data.labels('part')[0], strict=True):
        assert (labels[mask] == part).all()
    crops = _TrainingCrops(data, 'part', SMALL, torch.tensor([0, 1, 0]), seed=1)
    image, target = crops[2]
    assert image.shape[1:] == target.shape and max(target.shape) <= 32
    assert_close(crops[2][0], image) and not torch.equal(crops[0][0], image)


def test_head_learns_colours_and_leaves_the_encoder_alone(tmp_path):
    train, val = make_coco(tmp_path / 'train', 16, seed=0), make_coco(tmp_path / 'val', 6, seed=1)
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, 32)
    before = {name: value.clone() for name, value in encoder.module.state_dict().items()}
    options = {'iterations': 150, 'batch_size': 8, 'workers': 0, 'progress': False}
    head = train_head(encoder, train, 'part', SMALL, **options)
    assert head.weight.shape == (4, 4 * WIDTH, 1, 1)
    result = score_head(encoder, head, val, 'part', SMALL, progress=False)
    assert list(result['iou']) == list(train.parts) and result['miou'] > 50
    untrained = torch.nn.Conv2d(4 * WIDTH, 4, 1)
    assert score_head(encoder, untrained, val, 'part', SMALL, progress=False)['miou'] < result['miou'] - 20
    assert all(torch.equal(value, before[name]) for name, value in encoder.module.state_dict().items())


def test_logits_of_overlapping_windows_are_averaged(tmp_path, monkeypatch):
    data = make_coco(tmp_path, 2, seed=0)
    house = PartData('house', data.parts, data.objects, None, data.paths[:1], data.regions[:1], data.decode)
    # 32 pixels: windows of 24 at 0 and 8, each way. The first is sure of label 2, the others lean to 3: where all four
    # overlap the mean of their logits says 2, the mean of their probabilities would say 3.
    answers = iter([[13.0, 0.0], [0.0, 4.0], [0.0, 4.0], [0.0, 4.0]])
    monkeypatch.setattr(
        'repre_mm.studies.parts.fcn.block_maps',
        lambda *_: torch.tensor(next(answers)).view(1, 2, 1, 1).expand(1, 2, 3, 3),
    )
    head = torch.nn.Conv2d(2, 4, 1)
    head.weight.data = torch.tensor([[0.0, 0], [0, 0], [1, 0], [0, 1]]).view(4, 2, 1, 1)
    head.bias.data = torch.tensor([-99.0, -99, 0, 0])
    windows = Scales(train=(64, 32), test=(64, 32), crop=24, stride=8)
    result = score_head(FrozenEncoder(mm_vit(), MEAN, STD, 24), head, house, 'part', windows, progress=False)
    guesses = torch.full((32, 32), 3)
    guesses[:24, :24] = 2
    labels = torch.from_numpy(_labelled(house, 'part', 0)[1])
    for label in (2, 3):
        hit = ((guesses == label) & (labels == label)).sum()
        either = ((guesses == label) & (labels != IGNORED) | (labels == label)).sum()
        assert result['iou'][data.parts[label]] == pytest.approx(100 * (hit / either).item())


def test_keypoints_cannot_be_segmented(tmp_path):
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, 32)
    with pytest.raises(UserError, match='has boxes of parts, no masks'):
        train_head(encoder, read_cub(make_cub(tmp_path), 'train'), 'part', SMALL, iterations=1, workers=0)
