"""From a config and a folder of images to scores, through the functions and through the command lines."""

import json
import re
import runpy
import shutil
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from repre_mm.checkpoint import CheckpointError
from repre_mm.evaluation import EvaluationError, evaluate_config, image_folder_loader, load_frozen_encoder
from repre_mm.utils.errors import plain_message

TOOLS = Path(__file__).parents[2] / 'tools'
BACKBONE = """dict(
    type='MoCoV3ViT', img_size=32, patch_size=8,
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48))"""
NORMALISATION = 'dict(mean=[120.0, 115.0, 100.0], std=[58.0, 57.0, 56.0])'
CONFIG = f"""
default_scope = 'mmpretrain'
image_size = 32
model = dict(
    type='repre_mm.RePreAlgorithm',
    data_preprocessor={NORMALISATION},
    algorithm=dict(type='MoCoV3', backbone={BACKBONE}))
"""
COLOURS = {'blue': (30, 30, 220), 'green': (20, 200, 40), 'red': (220, 30, 30)}


@pytest.fixture(scope='module')
def data_root(tmp_path_factory) -> Path:
    """Images of plain colours with noise, of several sizes: even random features tell the classes apart."""
    root = tmp_path_factory.mktemp('colours')
    random = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 3)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                shape = (int(random.integers(36, 60)), int(random.integers(36, 60)), 3)
                pixels = np.clip(np.array(colour) + random.normal(0, 20, shape), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return root


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / 'tiny.py'
    path.write_text(CONFIG)
    return path


def _save_checkpoint(cfg: Config, path: Path) -> Path:
    encoder, _, _ = load_frozen_encoder(cfg, 'random', seed=5)
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in encoder.state_dict().items()}, 'meta': {}}, path)
    return path


def test_loader_gives_the_standard_crop_in_order(data_root):
    loader = image_folder_loader(data_root, 'val', 32, batch_size=4, workers=0)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert images.shape == (9, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert loader.dataset.metainfo['classes'] == ('blue', 'green', 'red')
    colours = images.float().mean(dim=(2, 3)).view(3, 3, 3).mean(dim=1)
    np.testing.assert_allclose(colours, list(COLOURS.values()), atol=8)  # red first: RGB


def test_loader_crops_the_centre_of_the_resized_image(tmp_path):
    folder = tmp_path / 'val' / 'one'
    folder.mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    picture.save(folder / 'a.png')
    ((images, _),) = image_folder_loader(tmp_path, 'val', 56, workers=0)
    expected = picture.resize((96, 64), Image.BICUBIC).crop((20, 4, 76, 60))
    np.testing.assert_array_equal(images[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_labels_follow_the_training_classes(data_root, tmp_path):
    folder = tmp_path / 'val' / 'red'
    folder.mkdir(parents=True)
    Image.new('RGB', (40, 40)).save(folder / 'a.png')
    ((_, labels),) = image_folder_loader(tmp_path, 'val', 32, workers=0, classes=sorted(COLOURS))
    assert labels.tolist() == [2]


def test_missing_split(data_root):
    with pytest.raises(EvaluationError, match=r'no folder .*test.*\{train,val\}/<class>/'):
        image_folder_loader(data_root, 'test', 32)


def test_random_encoder_depends_on_the_seed_alone(config):
    cfg = Config.fromfile(config)
    torch.manual_seed(1)
    first, mean, std = load_frozen_encoder(cfg, 'random', seed=0)
    drawn = torch.rand(3)
    second, _, _ = load_frozen_encoder(cfg, 'random', seed=0)
    other, _, _ = load_frozen_encoder(cfg, 'random', seed=1)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert not torch.equal(first.layers[0].attn.qkv.weight, other.layers[0].attn.qkv.weight)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.rand(3), drawn)  # the caller's random stream was not touched
    assert (mean, std) == ([120.0, 115.0, 100.0], [58.0, 57.0, 56.0])
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())


@pytest.mark.parametrize(
    'model',
    [
        f'dict(type="MoCoV3", backbone={BACKBONE}, data_preprocessor={NORMALISATION})',
        f'dict(algorithm=dict(backbone={BACKBONE}, data_preprocessor={NORMALISATION}))',
        f'dict(backbone={BACKBONE})\ndata_preprocessor = {NORMALISATION}',
    ],
)
def test_encoder_and_normalisation_are_found(model, tmp_path):
    cfg = Config.fromstring(f'model = {model}', '.py')
    trained = load_frozen_encoder(cfg, 'random', seed=5)[0]
    encoder, mean, _ = load_frozen_encoder(cfg, _save_checkpoint(cfg, tmp_path / 'epoch_1.pth'))
    torch.testing.assert_close(encoder.state_dict(), trained.state_dict(), rtol=0, atol=0)
    assert mean == [120.0, 115.0, 100.0]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(type="MoCoV3")', 'model.backbone'),
        (f'model = dict(backbone={BACKBONE})', 'no mean and std'),
        (f'model = dict(backbone={BACKBONE}, data_preprocessor=dict(mean=[0.5], std=[0.2]))', '0-255'),
    ],
)
def test_unusable_configs(text, message):
    with pytest.raises(EvaluationError, match=message):
        load_frozen_encoder(Config.fromstring(text, '.py'), 'random')


def test_scores_of_a_checkpoint(config, data_root, tmp_path):
    cfg = Config.fromfile(config)
    result = evaluate_config(
        cfg,
        _save_checkpoint(cfg, tmp_path / 'epoch_7.pth'),
        data_root,
        knn_options={'k': [1, 3]},
        linear_options={'epochs': 20, 'batch_size': 8},
        workers=0,
        progress=False,
    )
    assert result['knn']['top1'] == {1: 100.0, 3: 100.0}  # plain colours
    assert result['linear']['top1'] == 100.0
    assert result['linear']['top5'] is None
    assert (result['train_images'], result['val_images'], result['classes']) == (24, 9, 3)
    assert (result['config'], result['checkpoint'], result['feature_width']) == ('tiny.py', 'epoch_7.pth', 24)
    json.dumps(result)


def test_faults_show_before_images_are_read(config, data_root, tmp_path):
    cfg = Config.fromfile(config)
    with pytest.raises(EvaluationError, match='k=200 is larger than the 24 training images'):
        evaluate_config(cfg, 'random', data_root)
    with pytest.raises(EvaluationError, match='no data folder'):
        evaluate_config(cfg, 'random')
    with pytest.raises(CheckpointError, match='no checkpoint'):
        evaluate_config(cfg, tmp_path / 'epoch_9.pth', data_root)
    cfg.pop('image_size')
    with pytest.raises(EvaluationError, match='image_size'):
        evaluate_config(cfg, 'random', data_root)


def _run(monkeypatch, tool: str, *arguments) -> None:
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments), '--workers', '0', '--device', 'cpu'])
    runpy.run_path(str(TOOLS / tool), run_name='__main__')


def test_knn_command(monkeypatch, capsys, config, data_root, tmp_path):
    out = tmp_path / 'knn.json'
    _run(monkeypatch, 'knn.py', config, 'random', '--data', data_root, '--k', 1, 5, '--out', out)
    result = json.loads(out.read_text())
    assert result['checkpoint'] == 'random'
    assert result['knn'] == {'protocol': 'knn-v1', 'temperature': 0.07, 'top1': {'1': 100.0, '5': 100.0}}
    assert result['versions']['torch'] == metadata.version('torch')
    assert str(tmp_path) not in out.read_text()
    assert 'k=5  100.00' in capsys.readouterr().out


@pytest.mark.parametrize('solver', ['sgd', 'lbfgs'])
def test_linear_probe_command(monkeypatch, capsys, config, data_root, tmp_path, solver):
    out = tmp_path / 'linear.json'
    options = ('--data', data_root, '--epochs', 5, '--solver', solver, '--out', out)
    _run(monkeypatch, 'linear_probe.py', config, 'random', *options)
    result = json.loads(out.read_text())['linear']
    assert result['settings']['solver'] == solver
    assert f'top1 {result["top1"]:7.2f}' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('config_name', 'data', 'message'),
    [
        ('absent.py', '.', 'error: there is no config'),
        ('tiny.py', 'nowhere', 'error: there is no folder'),
        ('tiny.py', 'unlabelled', 'error: labels=True needs every image in a class folder'),
    ],
)
def test_commands_end_with_one_line(monkeypatch, config, config_name, data, message):
    folder = config.parent / 'unlabelled' / 'train'
    folder.mkdir(parents=True)
    Image.new('RGB', (40, 40)).save(folder / 'a.png')
    with pytest.raises(SystemExit, match=message):
        _run(monkeypatch, 'knn.py', config.with_name(config_name), 'random', '--data', config.parent / data)


def test_damaged_image_found_by_a_loading_process_is_named_in_one_line(monkeypatch, config, data_root, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(data_root, root)
    damaged = root / 'val/red/1.png'
    damaged.write_bytes(damaged.read_bytes()[:100])
    arguments = ['tool', str(config), 'random', '--data', str(root), '--k', '3', '--workers', '1', '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / 'knn.py'), run_name='__main__')
    assert re.fullmatch(f'error: cannot read image {damaged}: .+', stop.value.code)


def test_messages_of_loading_processes_keep_their_lines():
    error = ValueError(
        'Caught DatasetError in DataLoader worker process 1.\nOriginal Traceback (most recent call last):'
        '\n  File "x.py", line 1\nrepre_mm.datasets.DatasetError: two are bad:\n  a.png: empty\n  b.png: no'
    )
    assert plain_message(error) == 'two are bad:\n  a.png: empty\n  b.png: no'
    assert plain_message(KeyError('no such key')) == 'no such key'
    assert plain_message(ValueError('Error: of the user')) == 'Error: of the user'
