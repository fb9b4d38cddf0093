"""Routes of released files into the tools: the authors' features, or a refusal that says what to do.

Belongs to ``repre_mm/checkpoint/releases.py``; the table of docs/released-weights.md states what is compared here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fixtures import released
from fixtures.released import assert_golden
from mmengine.config import Config
from mmpretrain.models import BEiTViT, DistilledVisionTransformer, SwinTransformer, VisionTransformer
from torch import Tensor, nn

from repre_mm.checkpoint import CheckpointError, LoadReport, Release, identify, load_pretrained
from repre_mm.checkpoint.releases import HALF
from repre_mm.evaluation import EncoderName, load_frozen_encoder
from repre_mm.registry import MODELS
from repre_mm.studies.parts.crops import tokens_of
from repre_mm.studies.parts.fcn import block_maps
from repre_mm.studies.parts.representations import find_projector

ROOT = Path(__file__).parents[2]
TRANSFER = ROOT / 'configs' / 'transfer'
SETR = 'cityscapes/setr-naive_vit-{}-p16_8xb1-80k_cityscapes-768x768.py'
UPERNET = 'cityscapes/upernet_swin-tiny_8xb1-80k_cityscapes-768x768.py'
DETECTOR = 'coco/mask-rcnn_vit-{}-p16_sfp_8xb2-1x_coco.py'
SWIN_DETECTOR = 'coco/mask-rcnn_swin-tiny_fpn_8xb2-1x_coco.py'


@dataclass(frozen=True)
class Routes:
    """What the table says of a file.

    Attributes:
        finetune: The class of mmpretrain that takes it with ``--pretrained``.
        options: Settings that SETR's and Mask R-CNN's ViT needs besides those of its config.
        refused: The reason and the message where these two refuse it.
        finetune_refused: Likewise, where the class of mmpretrain refuses it.
    """

    finetune: type[nn.Module] = VisionTransformer
    options: str = ''
    refused: tuple[str, str] | None = None
    finetune_refused: tuple[str, str] | None = None


VIT = Routes()
BEIT = Routes(BEiTViT, refused=('a BEiT in place of a plain ViT', 'another kind of encoder.* which fit timm:beit_base'))
SWIN = Routes(SwinTransformer)
ROUTES = {
    'DINO ViT-S/16': VIT,
    'DINO ViT-S/16 alone': VIT,
    'DINO ViT-S/8 alone': Routes(options='patch_size=8'),
    'iBOT ViT-S': VIT,
    'iBOT ViT-S alone': VIT,
    'MoCo v3 ViT-S': Routes(options='arch.num_heads=12'),
    'MoCo v3 ViT-B': VIT,
    'MAE ViT-B, with decoder': VIT,
    'MAE ViT-B, without decoder': VIT,
    'MAE ViT-B, training': VIT,
    'MAE ViT-B, fine-tuned': Routes(
        finetune_refused=(
            "its norm stands after pooling (`fc_norm`), mmpretrain's before",
            "no place for fc_norm.*timm:vit_base_patch16_224,global_pool='avg'",
        )
    ),
    'DeiT-S': VIT,
    'DeiT-S training': VIT,
    'DeiT-S distilled': Routes(
        DistilledVisionTransformer,
        refused=('no place for the distillation token', 'no place for dist_token.*timm:deit_small_distilled'),
    ),
    'BEiT-B': BEIT,
    'BEiT-B fine-tuned': BEIT,
    'CAE-S': BEIT,
    'CAE-B alone': BEIT,
    'MoBY DeiT-S': VIT,
    'MoBY Swin-T': SWIN,
    'Swin-T': SWIN,
}
# The others are large, or like one of these but for a detail.
QUICK = ('DINO ViT-S/8 alone', 'MoCo v3 ViT-S', 'DeiT-S distilled', 'CAE-S', 'MoBY Swin-T')


def test_every_layout_has_its_routes():
    assert list(ROUTES) == [name for name in ROUTES if name in released.names()]
    assert len(ROUTES) == len(released.names())


@pytest.fixture(scope='module')
def file(name, tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp('released') / 'file.pth'
    torch.save(released.released_file(name), path)
    yield path
    path.unlink()


def routed(quick: tuple[str, ...] = QUICK):
    return pytest.mark.parametrize(
        'name',
        [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in ROUTES],
        scope='module',  # one file for the tests of a name, which run together
    )


@routed()
@torch.no_grad()
def test_part_study(name, file):
    golden, encoder_name = released.features(name), EncoderName(None, str(file))
    encoder, projector = load_frozen_encoder(encoder_name), find_projector(encoder_name)
    batch = encoder.normalised(released.image())
    tokens = tokens_of(encoder.module, batch)
    if 'tokens' in golden:
        assert_golden(torch.stack([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1), golden['tokens'])
        assert_golden(block_maps(encoder.module, batch), golden['blocks'])
    else:  # Swin has no class token, and its blocks are in no part of the study
        assert_golden(tokens[:, 0], golden['encoder'])
        assert_golden(tokens[:, 1:].mean(dim=1), golden['encoder'])
    assert (projector is not None) == ('projector' in golden)
    if projector is not None:
        assert_golden(projector(encoder.module, batch), golden['projector'])


def images(release: Release) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (release.mean, release.std))
    return (released.image() - mean) / std


def pretrained(encoder: nn.Module, file: Path) -> LoadReport:
    """Fill an encoder as ``tools/train.py --pretrained FILE`` does."""
    name = EncoderName.parse([str(file)])
    report = load_pretrained(encoder, name.file, prefix=name.network().prefix)
    encoder.eval()
    return report


def finetuned_encoder(release: Release, routes: Routes) -> nn.Module:
    """mmpretrain's encoder of the same architecture, with the output that the authors evaluate."""
    if routes.finetune is SwinTransformer:
        return SwinTransformer('tiny')
    width = release.options.get('embed_dim', 384 if 'small' in release.architecture else 768)
    heads = release.options.get('num_heads', 6)
    sizes = dict(embed_dims=width, num_layers=12, num_heads=heads, feedforward_channels=4 * width)
    options = dict(img_size=224, patch_size=release.options.get('patch_size', 16), out_type='cls_token')
    if routes.finetune is DistilledVisionTransformer:
        options |= dict(out_type='raw')
    if routes.finetune is BEiTViT:
        pooled = release.options['global_pool'] == 'avg'
        options |= {key: value for key, value in release.options.items() if key.startswith('use_')}
        options |= dict(layer_scale_init_value=0.1, final_norm=not pooled)
        options |= dict(out_type='avg_featmap') if pooled else {}
    return routes.finetune(sizes, **options)


@routed()
@torch.no_grad()
def test_finetuning(name, file):
    routes, release, golden = ROUTES[name], identify(released.meta_file(name)), released.features(name)
    encoder = finetuned_encoder(release, routes)
    if routes.finetune_refused:
        with pytest.raises(CheckpointError, match=routes.finetune_refused[1]):
            pretrained(encoder, file)
        return
    assert pretrained(encoder, file).complete
    features = encoder(images(release))[-1]
    if features.ndim == 3:  # all tokens: class, distillation, patches
        assert_golden(features[:, :2].mean(dim=1), golden['encoder'])
        assert_golden(torch.stack([features[:, 0], features[:, 2:].mean(dim=1)], dim=1), golden['tokens'])
    else:
        assert_golden(features.mean((2, 3)) if features.ndim == 4 else features, golden['encoder'])


def transfer_encoder(config: str, release: Release, routes: Routes) -> nn.Module:
    config = Config.fromfile(TRANSFER / config.format('small' if 'small' in release.architecture else 'base'))
    if routes.options:
        key, _, value = routes.options.partition('=')
        config.merge_from_dict({f'model.backbone.{key}': int(value)})
    backbone = config.model.backbone
    if 'Swin' not in backbone.type:
        backbone.img_size = 224
    return MODELS.build(backbone)


def check_swin(config: str, file: Path, golden: dict, release: Release, routes: Routes) -> None:
    encoder = transfer_encoder(config, release, routes)
    report = pretrained(encoder, file)
    assert {key.partition('.')[0] for key in report.missing} == {'norm0', 'norm1', 'norm2'}
    # The last level keeps the file's norm; the authors' detector starts all four norms anew.
    assert not torch.equal(encoder.norm3.weight, torch.ones(768))
    nn.init.ones_(encoder.norm3.weight)
    nn.init.zeros_(encoder.norm3.bias)
    for level, numbers in zip(encoder(images(release)), golden['detection'], strict=True):
        assert_golden(level, numbers)


def check_vit(config: str, file: Path, golden: list[float], release: Release, routes: Routes) -> None:
    if routes.refused:
        with pytest.raises(CheckpointError, match=routes.refused[1]):
            pretrained(transfer_encoder(config, release, routes), file)
        return
    if routes.options:  # the config as it is would give other features
        with pytest.raises(CheckpointError, match=routes.options.removeprefix('arch.')):
            pretrained(transfer_encoder(config, release, Routes()), file)
    encoder = transfer_encoder(config, release, routes)
    report = pretrained(encoder, file)
    assert report.complete
    # No final norm before a head; MAE's fine-tuned one stands behind the pooling.
    assert {name.partition('.')[0] for name in report.unexpected} <= {'ln1', 'ln2', 'fc_norm'}
    assert_golden(encoder(images(release))[-1], golden)


@routed()
@torch.no_grad()
def test_setr(name, file):
    routes, release, golden = ROUTES[name], identify(released.meta_file(name)), released.features(name)
    if routes is SWIN:
        check_swin(UPERNET, file, golden, release, routes)
        with pytest.raises(CheckpointError, match=r'another kind of encoder.* which fit timm:swin_tiny'):
            pretrained(transfer_encoder(SETR, release, VIT), file)
    else:
        check_vit(SETR, file, golden.get('map'), release, routes)


@routed()
@torch.no_grad()
def test_mask_rcnn(name, file):
    routes, release, golden = ROUTES[name], identify(released.meta_file(name)), released.features(name)
    if routes is SWIN:
        check_swin(SWIN_DETECTOR, file, golden, release, routes)
    else:
        check_vit(DETECTOR, file, golden.get('detection'), release, routes)


def table_row(name: str) -> str:
    """A row of docs/released-weights.md."""
    release, routes = identify(released.meta_file(name)), ROUTES[name]
    mean = 'Inception' if release.mean == HALF else 'ImageNet'
    projected = ', projector' if 'projector' in released.features(name) else ''
    finetune = f'refused: {routes.finetune_refused[0]}' if routes.finetune_refused else f'`{routes.finetune.__name__}`'
    dense = f'yes, with `{routes.options}`' if routes.options else 'yes'
    setr, detector = dense, dense
    if routes is SWIN:
        setr, detector = 'refused: a Swin; UperNet: yes', 'yes'
    elif routes.refused:
        setr = detector = f'refused: {routes.refused[0]}'
    authors, study = f'yes{projected}', f'yes{projected}'
    first = (name, f'{release.method}, {release.default}', f'`{release.timm}`', mean, authors, 'yes')
    return f'| {" | ".join((*first, study, finetune, setr, detector))} |'


def test_the_table_in_the_docs_says_what_these_tests_check():
    page = (ROOT / 'docs' / 'released-weights.md').read_text()
    rows = [line for line in page.splitlines() if line.startswith('| ') and '| `timm:' in line]
    assert rows == [table_row(name) for name in ROUTES]
