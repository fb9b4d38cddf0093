"""The shipped configs of detection and segmentation."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from repre_mm.checkpoint import load_pretrained

ROOT = Path(__file__).parents[2]
PATHS = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs/transfer').rglob('*.py') if '_base_' not in p.parts)
TARGETS = {
    'coco/mask-rcnn_swin-tiny_fpn_8xb2-1x': ['41.6 / 38.4', '41.5 / 38.3', '42.1 / 39.2', '43.1 / 40.0'],
    'coco/mask-rcnn_swin-tiny_fpn_8xb2-ms-crop': ['43.7 / 39.8', '43.6 / 39.6', '44.8 / 40.3'],
    'cityscapes/setr-naive_vit-small': ['71.33 / 80.30', '72.96 / 81.32', '73.40 / 81.95'],
}


def heads(node):
    """Every number of classes in a model."""
    if isinstance(node, dict):
        if 'num_classes' in node:
            yield node['num_classes']
        for value in node.values():
            yield from heads(value)
    elif isinstance(node, list):
        for value in node:
            yield from heads(value)


def test_all_forms_are_there():
    names = {path.removeprefix('configs/transfer/').rsplit('_', 2)[0].split('_8xb')[0] for path in PATHS}
    setr = {f'cityscapes/setr-{form}_vit-{size}-p16' for form in ('naive', 'pup', 'mla') for size in ('small', 'base')}
    coco = {'coco/mask-rcnn_swin-tiny_fpn', 'coco/mask-rcnn_vit-small-p16_sfp', 'coco/mask-rcnn_vit-base-p16_sfp'}
    assert names == setr | coco | {'cityscapes/upernet_swin-tiny'}


@pytest.mark.parametrize('path', PATHS)
def test_recipe(path):
    cfg = Config.fromfile(ROOT / path)
    assert cfg.pretrained is None
    assert cfg.model_wrapper_cfg.type == 'repre_mm.DistributedDataParallel'
    if cfg.default_scope == 'mmdet':
        assert set(heads(cfg.model)) == {80}
        assert cfg.train_cfg.max_epochs == 12
        scales = [step.scale for step in cfg.train_dataloader.dataset.pipeline if step.type == 'Resize']
        assert scales == ([] if 'ms-crop' in path else [(1333, 800)])
        assert cfg.optim_wrapper.optimizer.type == 'AdamW'
        assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
    else:
        assert set(heads(cfg.model)) == {19}
        assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == 80000
        assert cfg.model.data_preprocessor.size == cfg.model.test_cfg.crop_size == (768, 768)
        assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 8


def test_scales_and_warm_up_of_swins_authors():
    cfg = Config.fromfile(ROOT / 'configs/transfer/coco/mask-rcnn_swin-tiny_fpn_8xb2-ms-crop-1x_coco.py')
    (choice,) = [step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'RandomChoice']
    (whole,), (first, crop, last) = choice.transforms
    assert whole == last
    assert whole.scales == [(side, 1333) for side in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)]
    assert first.scales == [(400, 1333), (500, 1333), (600, 1333)]
    assert (crop.type, crop.crop_size) == ('RandomCrop', (384, 600))
    assert [schedule.end for schedule in cfg.param_scheduler] == [500, 12]


@pytest.mark.parametrize('size', ['small', 'base'])
@pytest.mark.parametrize(
    ('form', 'blocks', 'auxiliary'),
    [('naive', [2, 5, 8, 11], 3), ('pup', [4, 7, 9, 11], 4), ('mla', [2, 5, 8, 11], 4)],
)
def test_heads_of_setrs_authors(form, size, blocks, auxiliary):
    """configs/SETR/SETR_{Naive,PUP,MLA}_DeiT_768x768_80k_cityscapes_bs_8.py of fudan-zvg/SETR."""
    path = f'configs/transfer/cityscapes/setr-{form}_vit-{size}-p16_8xb1-80k_cityscapes-768x768.py'
    cfg = Config.fromfile(ROOT / path)
    assert cfg.model.backbone.out_indices == blocks
    assert [head.in_index for head in cfg.model.auxiliary_head] == list(range(auxiliary))
    assert {head.loss_decode.loss_weight for head in cfg.model.auxiliary_head} == {0.4}
    assert cfg.optim_wrapper.optimizer.lr == (0.002 if form == 'mla' else 0.01)
    width = {'small': 384, 'base': 768}[size]
    if form != 'mla':
        assert {head.in_channels for head in (cfg.model.decode_head, *cfg.model.auxiliary_head)} == {width}
        assert cfg.model.decode_head.num_convs == {'naive': 1, 'pup': 4}[form]


def test_docs_list_them_all():
    page = (ROOT / 'docs/configs.md').read_text()
    assert [path for path in PATHS if f'](../{path})' not in page] == []


@pytest.mark.parametrize('prefix', TARGETS)
def test_header_has_the_numbers_of_the_paper(prefix):
    (path,) = [path for path in PATHS if path.startswith(f'configs/transfer/{prefix}')]
    header = (ROOT / path).read_text().split('_base_ =')[0].replace('\n# ', ' ')
    assert not [numbers for numbers in TARGETS[prefix] if numbers not in header]


def test_rates_grow_from_the_first_block_to_the_heads():
    """ViTDet's layer-wise decay; norms and positions are not decayed."""
    path = 'configs/transfer/coco/mask-rcnn_vit-base-p16_sfp_8xb2-1x_coco.py'
    cfg = Config.fromfile(ROOT / path)
    cfg.model.backbone.arch.update(embed_dims=24, feedforward_channels=24)
    cfg.model.neck.in_channels = 24
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: (group['lr'] / 1e-4, group['weight_decay']) for group in groups for p in group['params']}
    for block in (0, 1, 10, 11):
        rate = 0.7 ** (12 - block)
        assert found[f'backbone.layers.{block}.attn.qkv.weight'] == pytest.approx((rate, 0.1))
        assert found[f'backbone.layers.{block}.ln2.weight'] == pytest.approx((rate, 0))
    assert found['backbone.pos_embed'] == pytest.approx((0.7**13, 0))
    assert found['backbone.patch_embed.projection.weight'] == pytest.approx((0.7**13, 0.1))
    assert found['neck.levels.0.1.weight'] == pytest.approx((1, 0.1))
    assert found['neck.levels.0.2.weight'] == pytest.approx((1, 0))
    assert found['roi_head.bbox_head.fc_cls.weight'] == pytest.approx((1, 0.1))


def batch(cfg: Config, height: int, width: int) -> dict:
    """One image of a given size with its ground truth, as the data loader gives it."""
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0), img_id=1)
    if cfg.default_scope == 'mmdet':
        import numpy as np
        from mmdet.structures import DetDataSample
        from mmdet.structures.bbox import HorizontalBoxes
        from mmdet.structures.mask import BitmapMasks

        masks = np.zeros((1, height, width), dtype=np.uint8)
        masks[0, 100:400, 200:500] = 1
        boxes = HorizontalBoxes(torch.tensor([[200.0, 100.0, 500.0, 400.0]]))
        sample = DetDataSample(
            metainfo=meta,
            gt_instances=InstanceData(bboxes=boxes, labels=torch.tensor([3]), masks=BitmapMasks(masks, height, width)),
            ignored_instances=InstanceData(
                bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.long)
            ),
        )
    else:
        from mmseg.structures import SegDataSample

        labels = torch.randint(0, 19, (1, height, width))
        sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels))
    return {'inputs': [image], 'data_samples': [sample]}


PRETRAINING = {
    'vit-small': 'dino/repre_dino_vit-small-p16_16xb64-amp-coslr-300e_in1k.py',
    'vit-base': 'mocov3/repre_mocov3_vit-base-p16_32xb128-amp-coslr-300e_in1k.py',
    'swin-tiny': 'moby/repre_moby_swin-tiny_8xb64-amp-coslr-100e_in1k.py',
}


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """Encoder -> a training checkpoint of RePre, of the full size."""
    folder = tmp_path_factory.mktemp('pretrained')

    def make(encoder: str) -> Path:
        path = folder / f'{encoder}.pth'
        if not path.exists():
            cfg = Config.fromfile(ROOT / 'configs/pretrain' / PRETRAINING[encoder])
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                model = MODELS.build(cfg.model)
            torch.save({'state_dict': model.state_dict(), 'meta': {'cfg': cfg.pretty_text}}, path)
        return path

    return make


@pytest.mark.slow
@pytest.mark.parametrize('path', PATHS)
def test_full_size_config_loads_trains_a_step_and_infers(path, pretrained):
    cfg = Config.fromfile(ROOT / path)
    detection = cfg.default_scope == 'mmdet'
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
        report = load_pretrained(model.backbone, pretrained(next(name for name in PRETRAINING if name in path)))
        # A Swin has a norm per output; pre-training has one output, the last.
        new = [f'norm{i}.{kind}' for i in range(3) for kind in ('weight', 'bias')] if 'swin' in path else []
        assert (list(report.missing), report.mismatched) == (new, {})
        assert f'{report.filled:.2%}' == '100.00%'
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        optim_wrapper.zero_grad = lambda: None  # the gradients are looked at after the step
        # BatchNorm after pooling to one cell (UperNet) cannot train on one image.
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        # Slightly over a window in each direction: the sliding window in testing takes four.
        data = batch(cfg, *((800, 1216) if detection else (768, 768)))
        log = model.train_step(data, optim_wrapper)
        assert all(torch.isfinite(value).all() for value in log.values())
        assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        model.eval()
        (sample,) = model.test_step(batch(cfg, *((800, 1216) if detection else (800, 800))))
    if detection:
        assert sample.pred_instances.masks.shape[1:] == (800, 1216)
    else:
        assert sample.pred_sem_seg.data.shape == (1, 800, 800)
