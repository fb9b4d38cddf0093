"""The shipped configs: they are what their names say, and run. What they name is tested in test_checks.py."""

import copy
import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine import registry
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample

from repre_mm.datasets import view_sizes
from repre_mm.engine.adapt import set_length
from repre_mm.engine.checks.schedule import schedule_faults, warmup_faults
from repre_mm.models.selfsup.dino import DINO
from repre_mm.models.selfsup.ema import CosineEMA

ROOT = Path(__file__).parents[1]
ALL = sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts)
PRETRAIN = [path for path in ALL if path.startswith('configs/pretrain/')]
TOY = [path for path in ALL if Path(path).parent == Path('configs/toy')]
RECIPES = [path for path in ALL if path.startswith('configs/recipes/')]

ALGORITHMS = {
    'simclr': 'repre_mm.SimCLR',
    'byol': 'BYOL',
    'mocov2': 'repre_mm.MoCo',
    'mocov3': 'MoCoV3',
    'moby': 'repre_mm.MoBY',
    'dino': 'repre_mm.DINO',
    'simsiam': 'SimSiam',
}
ENCODERS = {
    'vit-small-p16': ({'mocov3-small', 'deit-small'}, 384),
    'vit-base-p16': ({'base', 'deit-base'}, 768),
    'swin-tiny': ({'tiny'}, 768),
}


@cache
def load(path: str) -> Config:
    return Config.fromfile(ROOT / path)


def algorithm(cfg: Config) -> ConfigDict:
    return cfg.model.get('algorithm', cfg.model)


def plain_of(path: str) -> str:
    """The baseline of a RePre config."""
    return path.replace('/repre_', '/').replace('_fullwidth', '')


def header(path: str) -> str:
    """The comment on top, with the lines of a command that go on joined."""
    lines = (ROOT / path).read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith('#'))
    return re.sub(r' \\\n# +', ' ', '\n'.join(lines[:end]))


@pytest.mark.parametrize('path', ALL)
def test_header_has_the_command_that_runs_the_file(path):
    assert re.search(rf'^#   .*tools/\S+ {re.escape(path)}( |$)', header(path), re.MULTILINE)


def test_no_config_names_a_place_of_one_machine():
    for path in (ROOT / 'configs').rglob('*.py'):
        assert not re.search(r"""(?<![\w.}>*)"'])/[A-Za-z]|~/|['"]/""", path.read_text()), path


@pytest.mark.parametrize('path', PRETRAIN)
def test_name_says_what_it_is(path):
    name = re.fullmatch(
        r'configs/pretrain/(?P<folder>\w+)/(?P<repre>repre_)?(?P<method>[a-z0-9]+)_(?P<arch>[a-z0-9-]+)_'
        r'(?P<full>fullwidth_)?(?P<gpus>\d+)xb(?P<batch>\d+)-amp-coslr-(?P<epochs>\d+)e_in1k\.py',
        path,
    )
    assert name, 'METHOD_ARCH_[fullwidth_]GPUSxbBATCH-amp-coslr-EPOCHSe_in1k.py'
    cfg, inner = load(path), algorithm(load(path))
    gpus, batch, epochs = (int(name[key]) for key in ('gpus', 'batch', 'epochs'))

    assert name['folder'] == name['method']
    assert inner.type == ALGORITHMS[name['method']]
    assert (cfg.model.type == 'repre_mm.RePreAlgorithm') == bool(name['repre'])
    archs, width = ENCODERS[name['arch']]
    assert inner.backbone.arch in archs
    assert inner.backbone.get('patch_size', 16) == 16
    assert inner.neck.in_channels == width
    assert cfg.train_dataloader.batch_size == batch
    if 'auto_scale_lr' in cfg:
        assert cfg.auto_scale_lr.base_batch_size == gpus * batch
    assert cfg.optim_wrapper.type == 'repre_mm.BFloat16OptimWrapper'
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.data_root == 'data/imagenet'
    if name['full']:
        assert cfg.model.neck == dict(type='repre_mm.RePreNeck', out_channels=None)
    else:
        assert 'neck' not in cfg.model or cfg.model.type != 'repre_mm.RePreAlgorithm'
    assert f'{epochs} epochs' in header(path).splitlines()[0]
    assert f'a batch of {gpus * batch} over {gpus} GPUs ({gpus} x {batch})' in header(path)


@pytest.mark.parametrize('path', [path for path in PRETRAIN + TOY + RECIPES if '/repre_' in path])
def test_pair_differs_by_the_branch_only(path):
    plain, repre = load(plain_of(path)), load(path)
    assert repre.model.type == 'repre_mm.RePreAlgorithm'
    assert repre.model.algorithm == plain.model
    assert {k: v for k, v in repre.items() if k != 'model'} == {k: v for k, v in plain.items() if k != 'model'}


def test_every_config_has_its_pair():
    for paths in (PRETRAIN, TOY):
        plain = {path for path in paths if '/repre_' not in path}
        assert {plain_of(path) for path in set(paths) - plain} == plain
        # BYOL and SimSiam have no toys: docs/configs.md says why.
        missing = {'byol', 'simsiam'} if paths is TOY else set()
        assert {Path(path).name.split('_')[0] for path in plain} == set(ALGORITHMS) - missing


@pytest.mark.parametrize('path', PRETRAIN + TOY)
def test_training_ends_with_its_schedules(path):
    cfg = load(path)
    warmup, cosine, *others = cfg.param_scheduler
    assert (warmup.type, cosine.type) == ('LinearLR', 'CosineAnnealingLR')
    assert warmup.begin == 0 < warmup.end < cfg.train_cfg.max_epochs
    assert cosine.begin in (0, warmup.end)
    for schedule in (cosine, *others):
        assert schedule.end == cfg.train_cfg.max_epochs
    assert all(schedule.convert_to_iter_based for schedule in cfg.param_scheduler)


@pytest.mark.parametrize('path', PRETRAIN + RECIPES)
def test_log_variances_learn_at_a_rate_of_their_own(path):
    optim = load(path).optim_wrapper
    own = optim.paramwise_cfg.custom_keys.loss_weighting
    assert own.decay_mult == 0
    assert optim.optimizer.lr * own.lr_mult == pytest.approx(0.02)


@pytest.mark.parametrize('path', [path for path in PRETRAIN + TOY + RECIPES if '/repre_' in path])
def test_weighting_is_the_one_that_the_docs_defend(path):
    """docs/does-it-help.md: uncertainty without a bound, in all configs."""
    usual = {'type': 'repre_mm.UncertaintyWeighting'} | ({'contrast_shift': 1.0} if 'simsiam' in path else {})
    assert {'type': 'repre_mm.UncertaintyWeighting', **load(path).model.get('loss_weighting', {})} == usual


@pytest.mark.parametrize('path', PRETRAIN + TOY + RECIPES)
def test_hooks_that_a_method_needs(path):
    cfg = load(path)
    hooks = {hook.type: hook for hook in cfg.default_hooks.values() if hook}
    assert 'repre_mm.MomentumUpdateHook' in hooks
    assert ('repre_mm.DINOHook' in hooks) == (algorithm(cfg).type == 'repre_mm.DINO')
    assert ('SimSiamHook' in hooks) == (algorithm(cfg).type == 'SimSiam')
    if 'SimSiamHook' in hooks:
        assert hooks['SimSiamHook'].lr == cfg.optim_wrapper.optimizer.lr


def curves(cfg: Config, epoch_length: int = 4) -> tuple[list[float], list[float], list[float]]:
    """Learning rate and weight decay before each iteration, and the weight decay of a group that has none."""
    lr, decay = cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], weight_decay=wd) for wd in (decay, 0.0)]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    schedulers = []
    for options in map(dict, cfg.param_scheduler):
        with registry.PARAM_SCHEDULERS.switch_scope_and_registry('mmpretrain') as child:
            cls = child.get(options.pop('type'))
        options.pop('convert_to_iter_based')
        schedulers.append(cls.build_iter_from_epoch(optimizer, epoch_length=epoch_length, **options))
    rows = []
    for _ in range(cfg.train_cfg.max_epochs * epoch_length):
        decayed, free = optimizer.param_groups
        rows.append((decayed['lr'], decayed['weight_decay'], free['weight_decay']))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return tuple(map(list, zip(*rows, strict=True)))


@pytest.mark.parametrize(
    ('path', 'peak', 'warmup', 'last'),
    [
        ('simclr/simclr_vit-small-p16_8xb512-amp-coslr-300e_in1k', 2e-4 * 16, 40, 0),
        ('byol/byol_vit-base-p16_32xb128-amp-coslr-300e_in1k', 1e-4 * 16, 40, 0),
        ('mocov2/mocov2_vit-small-p16_8xb128-amp-coslr-800e_in1k', 1.5e-4 * 4, 40, 0),
        ('mocov3/mocov3_vit-base-p16_32xb128-amp-coslr-600e_in1k', 1.5e-4 * 16, 40, 0),
        ('dino/dino_vit-small-p16_16xb64-amp-coslr-300e_in1k', 5e-4 * 4, 10, 1e-6),
        ('dino/dino_vit-small-p16_16xb64-amp-coslr-800e_in1k', 5e-4 * 4, 10, 1e-5),
        ('dino/dino_vit-base-p16_32xb32-amp-coslr-800e_in1k', 7.5e-4 * 4, 10, 2e-6),
        ('dino/dino_swin-tiny_16xb32-amp-coslr-100e_in1k', 5e-4 * 2, 10, 1e-6),
    ],
)
def test_learning_rate_follows_warmup_and_cosine(path, peak, warmup, last):
    cfg = load(f'configs/pretrain/{path}.py')
    rate, decay, free = curves(cfg)
    total, warmup = len(rate), warmup * 4
    expected = [
        last + (peak - last) * (1 + math.cos(math.pi * i / (total - warmup))) / 2 for i in range(total - warmup)
    ]
    assert rate[warmup:] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    slope = peak / (warmup - 1)
    assert rate[:warmup] == pytest.approx([slope * i for i in range(warmup)], abs=2e-4 * peak)
    assert not any(free)
    if '/dino_' in path:
        ramp = [0.4 - 0.36 * (1 + math.cos(math.pi * i / total)) / 2 for i in range(total)]
        assert decay == pytest.approx(ramp, rel=1e-6)
    else:
        assert set(decay) == {cfg.optim_wrapper.optimizer.weight_decay}


#: From args.txt beside the released ViT-S/16 (800 epochs) and ViT-B/16 (400 epochs) of facebookresearch/dino.
DINO_ARGS = {
    'small-p16_16xb64': dict(norm=False, warmup=30, clip=0, freeze=1, lr=5e-4, min_lr=1e-5),
    'base-p16_32xb32': dict(norm=True, warmup=50, clip=0.3, freeze=3, lr=7.5e-4, min_lr=2e-6),
}


@pytest.mark.parametrize('encoder', DINO_ARGS)
def test_long_dino_runs_have_the_released_settings(encoder):
    args = DINO_ARGS[encoder]
    cfg = load(f'configs/pretrain/dino/dino_vit-{encoder}-amp-coslr-800e_in1k.py')
    multi_view = cfg.train_dataloader.dataset.pipeline[0]
    assert list(multi_view.num_views) == [1, 1, 10]
    ratios = [view[0].crop_ratio_range for view in multi_view.transforms]
    assert [list(ratio) for ratio in ratios] == [[0.25, 1.0], [0.25, 1.0], [0.05, 0.25]]
    model = cfg.model
    assert (model.backbone.drop_path_rate, model.base_momentum) == (0.1, pytest.approx(1 - 0.996))
    assert (model.neck.out_channels, model.neck.norm_last_layer) == (65536, args['norm'])
    assert (model.head.warmup_teacher_temp, model.head.teacher_temp) == (0.04, 0.07)
    assert model.head.warmup_teacher_temp_epochs == args['warmup']
    optimizer, (warmup, cosine, decay) = cfg.optim_wrapper.optimizer, cfg.param_scheduler
    assert (optimizer.lr, cosine.eta_min) == (pytest.approx(args['lr'] * 1024 / 256), args['min_lr'])
    assert (optimizer.weight_decay, decay.eta_min, warmup.end) == (0.04, 0.4, 10)
    hooks = {hook.type: hook for hook in [*cfg.custom_hooks, *cfg.default_hooks.values()] if hook}
    assert hooks['repre_mm.DINOHook'].freeze_last_layer == args['freeze']
    clip = hooks.get('repre_mm.ClipGradPerParameterHook')
    assert (clip.max_norm if clip else 0) == args['clip']


@pytest.mark.parametrize('epochs', [100, 300])
def test_moby_follows_its_authors_schedule(epochs):
    # timm's CosineLRScheduler, as lr_scheduler.py of Transformer-SSL sets it up: warm-up within the cosine.
    rate, _, _ = curves(load(f'configs/pretrain/moby/moby_swin-tiny_8xb64-amp-coslr-{epochs}e_in1k.py'))
    total, warmup = len(rate), 5 * 4
    cosine = [5e-6 + (1e-3 - 5e-6) * (1 + math.cos(math.pi * i / total)) / 2 for i in range(total)]
    assert rate[warmup:] == pytest.approx(cosine[warmup:], rel=1e-3)
    ramp = [5e-7 + (1e-3 - 5e-7) * i / (warmup - 1) for i in range(warmup)]
    assert rate[:warmup] == pytest.approx(ramp, rel=6e-3)  # theirs is not lowered by the cosine


def run_one_step(path: str, batch: int) -> None:
    """Random pixels in the config's own sizes through its preprocessor, model and optimizer."""
    cfg = load(path).copy()
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = registry.MODELS.build({'data_preprocessor': cfg.data_preprocessor, **cfg.model})
        model.init_weights()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    for module in model.modules():  # what MomentumUpdateHook and DINOHook tell them
        if isinstance(module, CosineEMA):
            module.max_steps = 1
        elif isinstance(module, DINO):
            module.epoch = 0
    sizes = view_sizes(cfg.train_dataloader.dataset.pipeline)
    assert sizes[0] == cfg.image_size
    views = [torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8) for size in sizes]
    # Only the weights: a bias that ends in a BatchNorm moves nothing, so it may have no gradient.
    weights = {name: p for name, p in model.backbone.named_parameters() if p.requires_grad and p.ndim > 1}
    before = {name: p.detach().clone() for name, p in weights.items()}
    log = model.train_step({'inputs': views, 'data_samples': [DataSample() for _ in range(batch)]}, optim_wrapper)
    assert all(torch.isfinite(value).all() for value in log.values())
    assert not [name for name, value in before.items() if torch.equal(value, weights[name])]


@pytest.mark.parametrize('path', [path for path in RECIPES if '/repre_' not in path])
@pytest.mark.parametrize('many', [False, True])
def test_length_of_a_recipe_follows_from_the_images(path, many, monkeypatch):
    images = (100_000 if many else 1000) * (1 if path.endswith('_cpu.py') else 10)  # as the header says
    cfg = copy.deepcopy(load(path))
    batch, seen = cfg.train_dataloader.batch_size, cfg.recipe.images_seen
    momentum = cfg.model.get('base_momentum')
    monkeypatch.setattr('repre_mm.engine.checks.schedule.count_images', lambda dataset, most: images)
    set_length(cfg)
    epochs, per_epoch = cfg.train_cfg.max_epochs, images // batch
    assert epochs * per_epoch * batch == pytest.approx(seen, abs=per_epoch * batch / 2)
    assert [*schedule_faults(cfg), *warmup_faults(cfg)] == []
    assert cfg.param_scheduler[0].end <= epochs / 10 + 1e-9
    if momentum:
        assert math.log1p(-cfg.model.base_momentum) * epochs * per_epoch == pytest.approx(
            math.log1p(-momentum) * load(path).recipe.steps
        )


@pytest.mark.parametrize('path', TOY + [path for path in RECIPES if path.endswith('_cpu.py')])
def test_small_config_runs_a_step(path):
    run_one_step(path, batch=8)


@pytest.mark.slow
@pytest.mark.parametrize('path', PRETRAIN)
def test_full_size_config_runs_a_step(path):
    run_one_step(path, batch=2)
