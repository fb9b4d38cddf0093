"""Belongs to weights/: what the card says of the encoder that comes with the package, in numbers."""

import hashlib
from pathlib import Path

import pytest
import torch
import yaml
from fixtures.tools import run_tool
from mmengine.config import Config
from mmpretrain.models import VisionTransformer
from PIL import Image, ImageOps

import repre_mm
from repre_mm.checkpoint import read_checkpoint
from repre_mm.cli.training import prepare_training, training_parser
from repre_mm.evaluation import evaluate_config
from repre_mm.evaluation.attention import level_map, similarity_map
from repre_mm.evaluation.pretraining import load_repre
from repre_mm.toy_scenes import make_toy_scenes

ROOT = Path(__file__).parents[1]
NAME = 'repre_simclr_vit-tiny_toy'
FILE = ROOT / f'weights/{NAME}.safetensors'
CONFIG = ROOT / f'configs/toy/{NAME}.py'
GOLDEN = [0.3174, 0.0071, 1.3216, -0.5697]  # the first numbers of the first image's vector
METAFILE = next(
    model for model in yaml.safe_load((CONFIG.parent / 'metafile.yml').read_text())['Models'] if model['Name'] == NAME
)


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('scenes')
    make_toy_scenes(root, num_train=60, num_val=60, tasks=['cls'], workers=1, progress=False)
    return root / 'cls/val'


@pytest.fixture(scope='module')
def encoder():
    return repre_mm.load_encoder(NAME, device='cpu')


@pytest.fixture(scope='module')
def images(encoder, scenes) -> torch.Tensor:
    """Eight evaluation crops, normalised."""
    return encoder.frozen.normalised(torch.cat([encoder._one(path) for path in sorted(scenes.rglob('*.jpg'))[:8]]))


def test_file_is_the_one_that_the_metafile_describes():
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == METAFILE['Metadata']['SHA256']
    assert ROOT / METAFILE['Weights'] == FILE and FILE.stat().st_size < 5e6
    meta = read_checkpoint(FILE)['meta']
    assert meta['epoch'] == METAFILE['Metadata']['Epochs']
    card = FILE.with_suffix('.md').read_text()
    for result in METAFILE['Results']:
        assert all(f'{score:.1f}' in card for score in result['Metrics'].values())
    # Tensors and plain words only: no path, no host, no optimizer.
    assert set(meta) <= {'method', 'config', 'epoch', 'iter', 'num_heads'}


def test_embed(encoder, scenes, images):
    vectors = encoder.embed(scenes, progress=False)
    assert vectors.shape == (60, 128)
    assert vectors[0, :4].tolist() == pytest.approx(GOLDEN, abs=5e-3)
    torch.testing.assert_close(vectors[:8], encoder(images), rtol=1e-4, atol=1e-5)


def test_search_finds_the_image_of_a_mirrored_copy(monkeypatch, tmp_path, scenes, capsys):
    run_tool(
        monkeypatch, 'embed', NAME, '--data', scenes, '--out', tmp_path / 'v.npy', '--workers', 0, '--device', 'cpu'
    )
    queries = []
    for path in sorted(scenes.rglob('*.jpg'))[::6]:
        queries.append(tmp_path / f'{path.parent.name}_{path.stem}.png')
        ImageOps.mirror(Image.open(path)).save(queries[-1])
    capsys.readouterr()
    run_tool(monkeypatch, 'search', tmp_path / 'v.npy', *queries, '--top', 1, '--out', tmp_path / 'nearest.png')
    lines = [line.split('\t') for line in capsys.readouterr().out.splitlines() if '\t' in line]
    found = [Path(query).stem == f'{Path(path).parent.name}_{Path(path).stem}' for query, _, path in lines]
    assert sum(found) >= 9 and all(float(cosine) > 0.9 for _, cosine, _ in lines)


def test_attention(encoder, images):
    maps = similarity_map(encoder.backbone, images)
    levels = level_map(encoder.backbone, images)
    expected = torch.einsum(
        'bchw,bc->bhw',
        torch.nn.functional.normalize(levels, dim=1),
        torch.nn.functional.normalize(levels.mean((2, 3)), dim=1),
    )
    torch.testing.assert_close(maps, expected)
    assert maps.std((1, 2)).min() > 0.001  # it prefers some places to others


def test_reconstruct(encoder, scenes):
    errors, random = [], []
    untrained = load_repre(Config.fromfile(CONFIG), 'random')
    for path in sorted(scenes.rglob('*.jpg'))[:8]:
        crop = encoder._one(path) / 255
        errors.append((encoder.reconstruct(path) - crop[0]).abs().mean())
        random.append((untrained.reconstruct(crop) - crop).abs().mean())
    assert torch.stack(errors).mean() < 0.05 < 0.15 < torch.stack(random).mean()


def test_init_from(encoder, scenes, tmp_path):
    words = [
        CONFIG,
        '--data',
        scenes.parent,
        '--work-dir',
        tmp_path,
        '--init-from',
        NAME,
        '--epochs',
        3,
        '--batch-size',
        4,
    ]
    runner = prepare_training(training_parser().parse_args([str(word) for word in words]))
    state = read_checkpoint(FILE)['state_dict']
    for name, value in runner.model.backbone.state_dict().items():
        assert torch.equal(value, state[f'backbone.{name}']), name


def test_export_to_timm(encoder, images, tmp_path):
    meta = repre_mm.export(encoder, tmp_path, to='timm')
    timm = pytest.importorskip('timm')
    facts = meta['architecture']
    options = {'embed_dim': facts['embed_dims'], 'depth': facts['num_layers'], 'patch_size': facts['patch_size']}
    model = timm.models.VisionTransformer(img_size=48, num_heads=meta['num_heads'], num_classes=0, **options)
    model.load_state_dict(torch.load(tmp_path / 'encoder_timm.pth')['state_dict'])
    tokens = model.eval().forward_features(images)[:, 1:]  # (B, N, C), without the class token
    # timm has no norm behind the mean of the tokens, and says so; the map is the same.
    assert sorted(meta['left_out']) == ['ln2.bias', 'ln2.weight']
    torch.testing.assert_close(encoder.backbone.ln2(tokens.mean(1)), encoder(images), rtol=1e-4, atol=1e-4)


def test_export_to_mmpretrain(encoder, images, tmp_path):
    meta = repre_mm.export(encoder, tmp_path, to='mmpretrain')
    sizes = {name: meta['architecture'][name] for name in ('embed_dims', 'num_layers', 'feedforward_channels')}
    weights = {'type': 'Pretrained', 'checkpoint': f'{tmp_path}/encoder_mmpretrain.pth', 'prefix': meta['prefix']}
    options = {'img_size': 48, 'patch_size': 8, 'out_type': 'avg_featmap', 'init_cfg': weights}
    model = VisionTransformer(arch=dict(**sizes, num_heads=meta['num_heads']), **options)
    model.init_weights()
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images)[0], encoder(images), rtol=1e-5, atol=1e-5)


def test_export_to_onnx(encoder, images, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    repre_mm.export(encoder, tmp_path, to='onnx')
    session = onnxruntime.InferenceSession(tmp_path / 'encoder_onnx.onnx')
    (vectors,) = session.run(['vectors'], {'images': images.numpy()})
    torch.testing.assert_close(torch.from_numpy(vectors), encoder(images), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_scores_of_the_card(tmp_path):
    make_toy_scenes(tmp_path / 'toy', tasks=['cls'])
    result = evaluate_config(Config.fromfile(CONFIG), str(FILE), data_root=str(tmp_path / 'toy/cls'))
    published = [score for result in METAFILE['Results'] for score in result['Metrics'].values()]
    assert [result['knn']['top1'][20], result['linear']['top1']] == pytest.approx(published, abs=1.0)
