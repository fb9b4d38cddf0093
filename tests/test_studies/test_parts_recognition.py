"""Patch features, regions, the linear head, and the study as a whole."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.encoders import DEPTH, HEADS, PATCH, WIDTH, filled, mm_swin, mm_vit, timm_names, timm_vit
from fixtures.models import MEAN, STD, VIT, mocov3
from mmengine.config import Config
from mmpretrain.models import EfficientNet
from PIL import Image
from torch.testing import assert_close

from repre_mm.evaluation import EvaluationError
from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.models import TimmBackbone
from repre_mm.studies.parts import PartAnnotations, PartImages, load_named_encoder, parse_encoder, study_encoder
from repre_mm.studies.parts.patches import patch_map, region_means
from repre_mm.studies.parts.recognition import _overlap, _Regions
from repre_mm.studies.parts.segmentation import LinearHead, confusion, fit_linear_head, intersection_over_union
from repre_mm.toy_scenes.writers import encode_rle

TIMM = f'timm:vit_small_patch16_224,patch_size={PATCH},embed_dim={WIDTH},depth={DEPTH},num_heads={HEADS},mlp_ratio=2'
SIDE = 32
COLOURS = {'red': (220, 40, 40), 'green': (40, 200, 60), 'blue': (50, 70, 230)}


def test_tokens_are_those_after_the_final_norm():
    images = torch.rand(2, 3, 32, 32)
    vit = mm_vit()
    expected = vit(images)[0][:, 1:].detach()  # out_type='raw': the class token, then the patches
    assert_close(patch_map(vit, images), expected.transpose(1, 2).reshape(2, WIDTH, 4, 4))
    swin = mm_swin()
    images = torch.rand(1, 3, 64, 64)
    assert_close(patch_map(swin, images), swin(images)[-1].detach())


def test_timm_gives_the_same_tokens():
    vit = mm_vit()
    options = dict(patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, mlp_ratio=2, img_size=32)
    backbone = TimmBackbone('vit_small_patch16_224', **options)
    backbone.model.load_state_dict(timm_names(vit))
    images = torch.rand(2, 3, 32, 32)
    assert_close(patch_map(backbone, images), patch_map(vit, images), rtol=1e-4, atol=1e-4)


def test_encoder_without_patch_tokens_is_refused():
    with pytest.raises(EvaluationError, match='EfficientNet has no patch tokens'):
        patch_map(EfficientNet('b0'), torch.rand(1, 3, 32, 32))


def test_regions_are_means_weighted_by_area():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [8.0, 0.0]]])  # 2 channels, 2 x 2 cells
    shares = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.25], [0.75, 0.0]]])
    assert_close(region_means(maps, shares), torch.tensor([[2.0, 4.0], [2.75, 6.0]]))


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


def test_mean_overlap_leaves_out_classes_that_never_appear():
    # Labels down, guesses across: 'door' is neither, 'mirror' is only guessed, so it counts with an overlap of 0.
    counts = torch.tensor([[6, 1, 0, 1], [2, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    head = LinearHead(torch.zeros(1, 4), torch.zeros(4), True)
    result = _overlap(counts, ('wheel', 'door', 'mirror'), head)
    assert list(result['iou']) == ['background', 'wheel', 'door', 'mirror']
    assert result['iou']['door'] is None
    # 6 / (8 labels + 8 guesses - 6), 3 / (5 + 4 - 3), 0 / (0 + 1 - 0)
    assert [result['iou'][name] for name in ('background', 'wheel', 'mirror')] == pytest.approx([60, 50, 0])
    assert result['miou'] == pytest.approx((60 + 50 + 0) / 3)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_what_is_kept_of_the_images_is_neither_shared_nor_in_pieces(tmp_path):
    annotations = make_parts(tmp_path, 4, seed=0)
    item = PartImages(annotations, SIDE, (4, 4))[0]
    labels = item['part_labels'].share_memory_()  # as it comes from a loading process: an open file each
    regions = _Regions(annotations, 'part', 3)
    assert regions.features.tensor.shape == (8, 3)  # for all images, from the start
    regions.add(torch.tensor([[1.0, 2, 3], [4, 5, 6]]), labels)
    regions.add(torch.tensor([[7.0, 8, 9], [0, 1, 2]]), labels)
    assert regions.features.tensor[:4].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2]]
    assert regions.labels.tensor[:4].tolist() == 2 * item['part_labels'].tolist()
    assert not regions.labels.tensor.is_shared()
    assert len(_Regions(annotations, 'object', 3).labels.tensor) == 4  # one object in each image


def test_logits_rise_between_cells():
    head = LinearHead(torch.tensor([[1.0, -1.0]]), torch.zeros(2), True)
    logits = head(torch.tensor([[[-1.0, 3.0]]]))
    # Bilinear: the change of sign lies a quarter of the way from the left to the right cell.
    labels = torch.zeros(1, 16, dtype=torch.long)
    assert confusion(logits, labels)[0].tolist() == [10, 6]


def make_parts(root: Path, count: int, seed: int, shuffled: bool = False) -> PartAnnotations:
    """Cars (red and green parts) and houses (blue and green) on grey; each part is a square of 2 x 2 cells."""
    rng = np.random.default_rng(seed)
    (root / 'images').mkdir(parents=True)
    names = ['car:red', 'car:green', 'house:blue', 'house:green']
    categories = [{'id': i + 1, 'name': n, 'supercategory': n.split(':')[0]} for i, n in enumerate(names)]
    images, annotations = [], []
    for index in range(count):
        pixels = np.full((SIDE, SIDE, 3), 128) + rng.integers(-12, 12, (SIDE, SIDE, 3))
        pair = (1, 2) if index % 2 else (3, 4)
        for category, left in zip(pair, rng.permutation([0, SIDE // 2]), strict=True):
            mask = np.zeros((SIDE, SIDE), bool)
            top = 8 * rng.integers(0, 3)
            mask[top : top + 16, left : left + 16] = True
            pixels[mask] += np.array(COLOURS[names[category - 1].split(':')[1]]) - 128
            told = int(rng.integers(1, 5)) if shuffled else category
            annotations.append({'image_id': index, 'category_id': told, 'segmentation': encode_rle(mask)})
        name = f'{index}.png'
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / 'images' / name)
        images.append({'id': index, 'file_name': name, 'width': SIDE, 'height': SIDE})
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (root / 'parts.json').write_text(json.dumps(content))
    return PartAnnotations.read(root / 'parts.json', root / 'images')


def study(train, val):
    encoder = FrozenEncoder(mm_vit(), MEAN, STD, SIDE)
    return study_encoder(encoder, train, val, k=5, workers=0, batch_size=8, progress=False)


def test_parts_and_objects_of_different_colours_are_recognised(tmp_path):
    val = make_parts(tmp_path / 'val', 16, seed=1)
    result = study(make_parts(tmp_path / 'train', 48, seed=0), val)
    part, whole = result['part'], result['object']
    assert result['grid'] == [4, 4] and result['width'] == WIDTH
    assert (part['train_regions'], part['val_regions'], part['classes']) == (96, 32, 4)
    assert (whole['train_regions'], whole['val_regions'], whole['classes']) == (48, 16, 2)
    assert part['linear']['top1'] > 80 and part['knn']['top1'] > 60
    assert whole['linear']['top1'] > 80 and whole['knn']['top1'] > 60
    assert part['miou'] > 60 and list(part['iou']) == ['background', *val.parts]
    assert whole['miou'] > 60 and list(whole['iou']) == ['background', 'car', 'house']
    # The same images with parts named at random: what was measured above is the encoder's, not the procedure's.
    wrong = study(make_parts(tmp_path / 'shuffled', 48, seed=0, shuffled=True), val)['part']
    assert wrong['linear']['top1'] < 60 and wrong['miou'] < 50


def test_one_object_class_has_a_segmentation_but_no_recognition(tmp_path):
    train = make_parts(tmp_path / 'train', 24, seed=0)
    content = json.loads(train.path.read_text())
    for category in content['categories']:
        category['supercategory'] = 'thing'
    train.path.write_text(json.dumps(content))
    one = PartAnnotations.read(train.path, train.root)
    whole = study(one, one)['object']
    assert whole['linear'] is None and whole['knn'] is None
    assert list(whole['iou']) == ['background', 'thing'] and whole['miou'] > 60


def test_names_of_encoders_are_taken_apart():
    assert parse_encoder('a=c.py:e.pth') == ('a', 'c.py', 'e.pth')
    assert parse_encoder('a=c.py:random') == ('a', 'c.py', 'random')
    assert parse_encoder('a=timm:vit.dino:e.pth') == ('a', 'timm:vit.dino', 'e.pth')
    assert parse_encoder('a=timm:vit,depth=2') == ('a', 'timm:vit,depth=2', 'random')
    for wrong in ('c.py:e.pth', 'a=c.py', 'a=c.py:', '=c.py:e.pth', 'a=timm:', 'a=timm:vit:'):
        with pytest.raises(EvaluationError, match='is not of the form NAME='):
            parse_encoder(wrong)


def _release(name: str, state: dict) -> dict:
    """The key layouts of the released files."""

    def under(prefix: str) -> dict:
        return {prefix + key: value for key, value in state.items()}

    classifier = {'head.weight': torch.rand(10, WIDTH), 'head.bias': torch.rand(10)}
    return {
        'timm': {**state, **classifier},
        'deit': {'model': {**state, **classifier}},
        'mae': {'model': state},
        'ibot': {'state_dict': state},
        'dino': {'teacher': under('backbone.'), 'student': under('module.backbone.')},
        'mocov3': {'state_dict': {**under('module.base_encoder.'), 'module.predictor.0.weight': torch.rand(2, 2)}},
    }[name]


@pytest.mark.parametrize('name', ['timm', 'deit', 'mae', 'ibot', 'dino', 'mocov3'])
def test_released_files_fill_a_timm_model(tmp_path, name):
    heads = 12 if name == 'mocov3' else HEADS  # the authors' of MoCo v3, in each of their ViTs
    source = filled(timm_vit(num_heads=heads), seed=3)
    torch.save(_release(name, source.state_dict()), tmp_path / 'file.pth')
    spec = TIMM.replace(f'num_heads={HEADS}', f'num_heads={heads}')
    encoder = load_named_encoder(spec, str(tmp_path / 'file.pth'), size=SIDE)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))  # ImageNet's
    assert_close(encoder.module(encoder.normalised(images))[0], source((images - mean) / std).detach())


@pytest.mark.parametrize(('name', 'prefix'), [('beit', ''), ('cae', 'encoder.')])
def test_released_files_of_beit_and_cae_fill_a_timm_model(tmp_path, name, prefix):
    positions = {'beit': '', 'cae': ',use_abs_pos_emb=True,use_rel_pos_bias=False'}[name]
    text = f'timm:beit_base_patch16_224,patch_size={PATCH},embed_dim=24,depth=2,num_heads=2{positions}'
    source = filled(load_named_encoder(text, 'random', size=SIDE).module)
    # Only values that are no part of the training follow from the shape.
    state = {k: v for k, v in source.model.state_dict().items() if not k.endswith('relative_position_index')}
    torch.save({'model': {prefix + key: value for key, value in state.items()}}, tmp_path / 'file.pth')
    encoder = load_named_encoder(text, str(tmp_path / 'file.pth'), size=SIDE)
    images = torch.rand(1, 3, SIDE, SIDE)
    assert_close(patch_map(encoder.module, images), patch_map(source, images))


def test_a_tag_tells_the_normalisation():
    plain = load_named_encoder(TIMM, 'random', size=SIDE)
    tagged = load_named_encoder(TIMM.replace('224,', '224.augreg_in21k_ft_in1k,', 1), 'random', size=SIDE)
    assert_close(torch.tensor(plain.mean), torch.tensor(MEAN))
    assert_close(torch.tensor(tagged.mean), torch.full((3,), 127.5))


@pytest.mark.parametrize(
    ('config', 'checkpoint', 'message'),
    [
        ('none.py', 'random', r'no config none\.py'),
        (None, 'none.pth', r'no checkpoint none\.pth'),
        ('timm:vit_small_patch16_224,depth', 'random', "'depth' is no OPTION=VALUE"),
    ],
)
def test_missing_files_are_named(config, checkpoint, message):
    with pytest.raises(ValueError, match=message):
        load_named_encoder(config, checkpoint)


def test_tool_writes_one_row_per_encoder(tmp_path, monkeypatch, capsys):
    train, val = make_parts(tmp_path / 'train', 24, seed=0), make_parts(tmp_path / 'val', 8, seed=1)
    config = tmp_path / 'tiny.py'
    Config(dict(model=mocov3(VIT), image_size=SIDE)).dump(config)
    spec = importlib.util.spec_from_file_location('part_study', Path(__file__).parents[2] / 'tools/part_study.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    files = ['--train-ann', train.path, '--train-images', train.root, '--val-ann', val.path, '--val-images', val.root]
    common = [*map(str, files), '--out', str(tmp_path / 'out'), '--workers', '0', '--k', '3', '--size', str(SIDE)]
    monkeypatch.setattr('sys.argv', ['part_study', '--encoders', f'a={config}:random', f'b={TIMM}', *common])
    tool.main()
    rows = [line.split('|') for line in (tmp_path / 'out/part_study.md').read_text().splitlines()]
    assert [row[1].strip() for row in rows[2:4]] == ['a (tiny)', f'b ({TIMM})'] and rows[2][2].strip() == 'random'
    result = json.loads((tmp_path / 'out/part_study.json').read_text())
    assert result['train_images'] == 24 and "2 classes, from the categories' supercategories" in result['objects']
    for row, name in zip(rows[2:4], 'ab', strict=True):
        entry = result['encoders'][name]
        assert math.isclose(float(row[5]), entry['part']['linear']['top1'], abs_tol=0.006)
        assert math.isclose(float(row[10]), entry['object']['miou'], abs_tol=0.006)
    monkeypatch.setattr('sys.argv', ['part_study', '--encoders', f'a={config}:random', f'a={TIMM}', *common])
    with pytest.raises(SystemExit, match='error: the encoders need different names: a, a'):
        tool.main()
