"""Tables 1 to 3 from a results folder whose files the tools' own writers made."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from fixtures.data import make_image_folder
from mmengine.config import Config
from mmengine.visualization import Visualizer

from repre_mm.engine.resilience.vis_backend import LocalVisBackend
from repre_mm.evaluation import EncoderName, evaluate_config, linear_eval, load_frozen_encoder
from repre_mm.studies.paper_tables import Encoder, collect, gains, named_encoder, tables
from repre_mm.utils.atomic import write_json
from repre_mm.utils.errors import UserError

TOOL = Path(__file__).parents[2] / 'tools/paper_tables.py'
PLAIN = 'mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k'
REPRE = f'repre_{PLAIN}'
MOBY = 'repre_moby_swin-tiny_8xb64-amp-coslr-100e_in1k'
CONFIG = dict(
    default_scope='mmpretrain',
    image_size=32,
    data_preprocessor=dict(mean=[120.0, 115.0, 100.0], std=[58.0, 57.0, 56.0]),
    model=dict(
        type='MoCoV3',
        backbone=dict(
            type='MoCoV3ViT',
            img_size=32,
            patch_size=8,
            arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48),
        ),
    ),
)


@pytest.fixture(scope='module')
def scores(tmp_path_factory) -> dict:
    """A result of linear evaluation and one of the cached probe, as the package gives them."""
    root = tmp_path_factory.mktemp('scores')
    data = make_image_folder(root / 'images', train=12)
    path = root / f'{PLAIN}.py'
    Config(CONFIG).dump(path)
    cfg, quick = Config.fromfile(path), {'workers': 0, 'progress': False, 'batch_size': 8}
    encoder = load_frozen_encoder(EncoderName(cfg, 'random'))
    return {
        'mocov3': linear_eval(encoder, data, protocol='mocov3', epochs=1, lrs=[1.0], **quick),
        'cached': evaluate_config(cfg, 'random', data, protocols=['linear'], linear_options={'epochs': 1}, **quick),
    }


def _linear(scores: dict, path: Path, config: str, top1: float, protocol: str = 'mocov3', checkpoint: str = 'a.pth'):
    result = json.loads(json.dumps(scores[protocol]))
    result |= {'config': f'{config}.py', 'checkpoint': checkpoint}
    result['linear']['top1'] = top1 - 1
    if protocol == 'mocov3':
        result['linear']['best_epoch']['top1'] = top1
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, path)


def _work_dir(path: Path, name: str, pretrained: str | None, metrics: list[dict]) -> None:
    """A work dir as a Runner leaves it: the config and the scalars."""
    path.mkdir(parents=True)
    config = Config(dict(pretrained=pretrained, default_scope='mmdet'))
    config.dump(path / f'{name}.py')
    logs = path / '20260101_000000/vis_data'
    backend = LocalVisBackend(save_dir=str(logs))
    visualizer = Visualizer(vis_backends=None, save_dir=None, name=str(path))
    visualizer._vis_backends = {'local': backend}
    visualizer.add_config(config)
    for step, scalars in enumerate(metrics, 1):
        visualizer.add_scalars(scalars, step=step, file_path='20260101_000000.json')
    assert {file.name for file in logs.iterdir()} >= {'config.py', 'scalars.json', '20260101_000000.json'}
    visualizer.close()


def test_names_of_configs_are_those_of_the_paper():
    assert named_encoder(f'work_dirs/{PLAIN}/epoch_300.pth') == Encoder('MoCo v3', 'ViT-S', 300, False)
    assert named_encoder(f'{MOBY}.py') == Encoder('MoBY', 'Swin-T', 100, True)
    assert named_encoder('repre_dino_vit-base-p16_32xb32-amp-coslr-800e_in1k') == Encoder('DINO', 'ViT-B', 800, True)
    assert named_encoder('swin_tiny_patch4_window7_224.pth') == Encoder('IN Sup.', 'Swin-T', 300, None)
    assert named_encoder('model.pth') is None


@pytest.mark.parametrize('path', sorted((TOOL.parents[1] / 'configs/pretrain').rglob('*.py')), ids=lambda p: p.stem)
def test_every_pretraining_config_has_a_name(path):
    encoder = named_encoder(path.name)
    assert encoder is not None and encoder.repre == path.name.startswith('repre_')


def test_scores_stand_beside_the_papers(tmp_path, scores):
    _linear(scores, tmp_path / 'linear/plain.json', PLAIN, 71.91)
    _linear(scores, tmp_path / 'linear/repre.json', REPRE, 73.04)
    box = [{'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.2}, {'coco/bbox_mAP': 0.419, 'coco/segm_mAP': 0.391}]
    _work_dir(tmp_path / 'det', 'mask-rcnn_swin-tiny_fpn_8xb2-1x_coco', f'work_dirs/{MOBY}/epoch_100.pth', box)
    dino = 'work_dirs/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k/epoch_300.pth'
    for name, miou in (('setr-naive', 70.0), ('setr-pup', 72.5), ('setr-mla', 71.0)):
        config = f'{name}_vit-small-p16_8xb1-80k_cityscapes-768x768'
        _work_dir(tmp_path / name, config, dino, [{'mIoU': miou, 'mAcc': 81.0, 'aAcc': 95.0}])
    results = collect(tmp_path)
    assert results.remarks == []
    lines = tables(results).splitlines()
    assert '| MoCo v3 | ViT-S | 300 | 71.9 | 73.0 (↑ 1.1) | 72.5 | 73.2 (↑ 0.7) |' in lines
    assert '| SimCLR | ViT-S | 300 | - | - | 69.0 | 69.7 (↑ 0.7) |' in lines
    assert '| MoBY | ✓ | 100 | 41.9 | 39.1 | 42.1 | 39.2 |' in lines
    assert '| MoBY | x | 300 | - | - | 43.6 | 39.6 |' in lines
    assert '| DINO | x | pup | 72.50 | 81.00 | 72.96 | 81.32 |' in lines
    (gain,) = gains(results)
    assert (gain.plain, gain.repre, gain.paper) == (71.91, 73.04, (72.5, 73.2))


def test_scores_without_a_best_epoch_are_those_of_the_last_one(tmp_path, scores):
    result = json.loads(json.dumps(scores['mocov3'])) | {'config': f'{PLAIN}.py', 'checkpoint': 'a.pth'}
    result['linear'] |= {'top1': 71.0, 'best_epoch': None}
    write_json(result, tmp_path / 'old.json')
    results = collect(tmp_path)
    assert list(results.linear.values()) == [71.0]
    assert f'{tmp_path / "old.json"}: the last epoch, since the file has no best one' in tables(results)


def test_test_scores_in_a_work_dir_go_before_its_log(tmp_path):
    log = [{'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.2}]
    _work_dir(tmp_path / 'det', 'mask-rcnn_swin-tiny_fpn_8xb2-1x_coco', f'work_dirs/{MOBY}/epoch_100.pth', log)
    (tmp_path / 'det/test.json').write_text(json.dumps({'coco/bbox_mAP': 0.4, 'coco/segm_mAP': 0.35}))
    (scores,) = collect(tmp_path).detection.values()
    assert scores == pytest.approx((40.0, 35.0))


def test_what_has_no_place_is_named(tmp_path, scores):
    _linear(scores, tmp_path / 'a.json', REPRE, 50.0, protocol='cached')
    _linear(scores, tmp_path / 'b.json', 'mine', 50.0)
    _linear(scores, tmp_path / 'c.json', PLAIN, 5.0, checkpoint='random')
    _linear(scores, tmp_path / 'd.json', PLAIN, 70.0)
    _linear(scores, tmp_path / 'e.json', PLAIN, 71.0)
    config = 'mask-rcnn_swin-tiny_fpn_8xb2-1x_coco'
    _work_dir(tmp_path / 'det', config, None, [{'coco/bbox_mAP': 0.3, 'coco/segm_mAP': 0.2}])
    results = collect(tmp_path)
    assert results.linear == {Encoder('MoCo v3', 'ViT-S', 300, False): 70.0}
    reasons = [
        'a probe on cached features',
        "'mine.py' is not one of",
        'random weights',
        'a second score',
        'random weights',
    ]
    assert len(results.remarks) == len(reasons)
    assert all(reason in text for reason, text in zip(reasons, results.remarks, strict=True))
    assert 'Remarks:' in tables(results)


def test_folder_without_results_gives_the_papers_numbers_only(tmp_path):
    text = tables(collect(tmp_path))
    assert '| MoBY | Swin-T | 300 | - | - | 75.0 | 76.1 (↑ 1.1) |' in text
    with pytest.raises(UserError, match='no such results folder'):
        collect(tmp_path / 'none')
    (tmp_path / 'broken.json').write_text('{')
    with pytest.raises(UserError, match=r'broken\.json is not JSON'):
        collect(tmp_path)


def test_tool_writes_tables_and_figure(tmp_path, scores, monkeypatch, capsys):
    for name, config in (('plain', PLAIN), ('repre', REPRE)):
        _linear(scores, tmp_path / f'results/{name}.json', config, 70.0)
    monkeypatch.setattr(sys, 'argv', ['paper_tables', str(tmp_path / 'results'), '--out', str(tmp_path / 'out')])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert '| MoCo v3 | ViT-S | 300 | 70.0 | 70.0 (↑ 0.0) |' in (tmp_path / 'out/paper_tables.md').read_text()
    assert (tmp_path / 'out/gains.png').is_file()
