"""The paper's ablations, and what goes beyond it, on toy scenes: same data, encoder and budget for every variant.

    python tools/ablation.py [--study features fusion] [--seeds 0 1 2] [--epochs N] [--data DIR] [--work-dir DIR]

A variant is a row of VARIANTS: overrides of configs/toy/repre_mocov3_vit-tiny_toy.py. Every variant is trained once per
seed, however many studies name it. A stopped run goes on when the same command is given again: finished cells are kept,
the one under way resumes from its last epoch. At the end WORK_DIR holds ablation.md and ablation.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from repre_mm.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/toy/repre_mocov3_vit-tiny_toy.py'

#: In an override: replaced by the number of training steps in an epoch.
STEPS_PER_EPOCH = 'steps per epoch'
#: Name -> what is changed in the config; None takes the plain method. 'default' has all 4 blocks of the toy encoder,
#: 2 convolutions per fusion, width 64, and uncertainty weighting with the config's bound on the ratio.
VARIANTS: dict[str, dict[str, Any] | None] = {
    'none': None,
    'default': {},
    'single': {'model.neck.features': 'single'},
    'conv_1': {'model.decoder': {'num_fusion_layers': 1}},
    'conv_4': {'model.decoder': {'num_fusion_layers': 4}},
    'transformer_1': {'model.decoder': {'fusion': 'transformer', 'num_fusion_layers': 1}},
    'transformer_2': {'model.decoder': {'fusion': 'transformer', 'num_fusion_layers': 2}},
    'transformer_4': {'model.decoder': {'fusion': 'transformer', 'num_fusion_layers': 4}},
    'levels_2': {'model.neck.num_levels': 2},
    'levels_3': {'model.neck.num_levels': 3},
    'uncertainty_free': {'model.loss_weighting.max_ratio': None},
    'fixed': {'model.loss_weighting': {'_delete_': True, 'type': 'repre_mm.FixedWeighting'}},
    'dwa': {
        'model.loss_weighting': {
            '_delete_': True,
            'type': 'repre_mm.DynamicWeightAveraging',
            'interval': STEPS_PER_EPOCH,
        }
    },
    'width_32': {'model.neck.out_channels': 32},
    'width_full': {'model.neck.out_channels': None},
    'gated': {
        'model.neck.type': 'repre_mm.GatedRePreNeck',
        'optim_wrapper.paramwise_cfg.custom_keys': {'repre_neck.gate': {'decay_mult': 0.0}},
    },
    'masked_50': {'model.neck.type': 'repre_mm.MaskedRePreNeck', 'model.neck.mask_ratio': 0.5},
    'masked_75': {'model.neck.type': 'repre_mm.MaskedRePreNeck', 'model.neck.mask_ratio': 0.75},
}
#: Study -> its title, and column -> variant. The first two are the paper's Tables 4 and 5.
STUDIES: dict[str, tuple[str, dict[str, str]]] = {
    'features': ('Features that are decoded', {'none': 'none', 'single': 'single', 'multi': 'default'}),
    'fusion': (
        'Fusion layer: operator x count',
        {
            'none': 'none',
            'conv x1': 'conv_1',
            'conv x2': 'default',
            'conv x4': 'conv_4',
            'transformer x1': 'transformer_1',
            'transformer x2': 'transformer_2',
            'transformer x4': 'transformer_4',
        },
    ),
    'levels': ('Levels K', {'1': 'single', '2': 'levels_2', '3': 'levels_3', '4': 'default'}),
    'weighting': (
        'Loss weighting',
        {
            'uncertainty, bounded': 'default',
            'uncertainty, free': 'uncertainty_free',
            'fixed 1 : 1': 'fixed',
            'DWA': 'dwa',
        },
    ),
    'width': ('Decoder width', {'32': 'width_32', '64': 'default', "the encoder's": 'width_full'}),
    'gate': ('Choice of levels', {'fixed': 'default', 'learned gate': 'gated'}),
    'masked': ('Masked cells', {'0 %': 'default', '50 %': 'masked_50', '75 %': 'masked_75'}),
}
#: Score -> how it is called in the tables, and its digits.
SCORES = {'linear_top1': ('linear probe, top-1 (%)', 1), 'knn_top1': ('kNN, top-1 (%)', 1), 'recon_l1': ('L1', 4)}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Ablate RePre on toy scenes.')
    parser.add_argument('--study', nargs='+', choices=list(STUDIES), default=list(STUDIES), help='default: all')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: %(default)s')
    parser.add_argument('--epochs', type=int, help="instead of the config's")
    parser.add_argument(
        '--data', type=Path, metavar='DIR', help='holds {train,val}/<class>/* (default: toy scenes, made where missing)'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'), help='default: %(default)s')
    parser.add_argument('--config', type=Path, default=CONFIG, help='the RePre config that the variants change')
    parser.add_argument('--k', type=int, default=20, help='neighbours of the kNN score (default: %(default)s)')
    parser.add_argument('--amp', action='store_true', help='bf16')
    return parser.parse_args()


def variant_config(name: str, seed: int, args: argparse.Namespace):
    """The config of one cell."""
    from mmengine.config import Config

    from repre_mm.engine.launch import set_data_root

    cfg = Config.fromfile(args.config)
    set_data_root(cfg, str(args.data))
    overrides = copy.deepcopy(VARIANTS[name])
    if overrides is None:
        cfg.model = cfg.model.algorithm
    else:
        weighting = overrides.get('model.loss_weighting', {})
        if weighting.get('interval') == STEPS_PER_EPOCH:
            weighting['interval'] = max(args.train_images // cfg.train_dataloader.batch_size, 1)
        cfg.merge_from_dict(overrides)
    cfg.launcher, cfg.work_dir = 'none', str(cell_file(name, seed, args).parent)
    cfg.experiment_name = cfg.work_dir
    cfg.randomness.seed = seed
    cfg.log_level = 'WARNING'  # the bar tells the rest
    if args.amp:
        cfg.optim_wrapper.type = 'repre_mm.BFloat16OptimWrapper'
    cfg.train_cfg.max_epochs = args.epochs
    cfg.param_scheduler[-1].end = max(args.epochs, cfg.param_scheduler[-1].begin + 1)
    # Scores and pictures along the way are not asked for.
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if not hook.type.endswith(('KNNHook', 'ReconstructionHook'))]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=2)
    return cfg


def measure(name: str, seed: int, args: argparse.Namespace, bar) -> dict[str, Any]:
    """Train one cell, or what is left of it, and score its encoder.

    Returns:
        The scores, and ``resumed_at``, the epochs that an earlier run had done.
    """
    from mmengine.hooks import Hook

    from repre_mm.engine.launch import build_runner
    from repre_mm.evaluation import evaluate_config

    class Progress(Hook):
        started_at = 0

        def before_train(self, runner) -> None:
            self.started_at = runner.epoch
            bar.update(runner.epoch)

        def after_train_epoch(self, runner) -> None:
            bar.update()

    cfg = variant_config(name, seed, args)
    cfg.resume = any(Path(cfg.work_dir).glob('*.pth'))
    runner = build_runner(cfg)
    progress = Progress()
    runner.register_hook(progress)
    runner.train()
    checkpoint = Path(cfg.work_dir) / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    scores = evaluate_config(cfg, checkpoint, knn_options={'k': [args.k]}, seed=seed, progress=False)
    l1 = runner.message_hub.log_scalars.get('train/recon_l1')
    return {
        'linear_top1': scores['linear']['top1'],
        'knn_top1': scores['knn']['top1'][args.k],
        # Mean over the last batches; the plain method has none.
        'recon_l1': float(l1.data[0][-10:].mean()) if l1 else None,
        'resumed_at': progress.started_at,
    }


def kept(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The scores of a finished cell; None for one that is to be trained.

    Raises:
        ValueError: The cell was made, or begun, with other settings.
    """
    if not path.is_file():
        return None
    cell = json.loads(path.read_text())
    if cell['settings'] != settings:
        others = [
            f'{key}={cell["settings"].get(key)!r}' for key in settings if cell['settings'].get(key) != settings[key]
        ]
        raise UserError(f'{path.parent} was made with {", ".join(others)}: name another --work-dir, or remove it')
    return cell.get('scores')


def table(study: str, cells: dict[tuple[str, int], dict[str, Any]], seeds: list[int]) -> list[str]:
    """One study as Markdown, laid out as in the paper: a column per variant."""
    title, columns = STUDIES[study]
    lines = [f'## {title}', '', f'| | {" | ".join(columns)} |', f'|---|{"---|" * len(columns)}']
    for score, (label, digits) in SCORES.items():
        row = []
        for variant in columns.values():
            values = [cells[variant, seed][score] for seed in seeds]
            if None in values:
                row.append('-')
                continue
            spread = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
            row.append(f'{statistics.mean(values):.{digits}f}{spread}')
        lines.append(f'| {label} | {" | ".join(row)} |')
    return [*lines, '']


def report(cells: dict[tuple[str, int], dict[str, Any]], args: argparse.Namespace) -> str:
    """All studies as Markdown."""
    from repre_mm.utils.stack import stack_versions

    several = len(args.seeds) > 1
    spread = 'Mean ± standard deviation over the seeds: smaller differences say nothing.' if several else 'One seed.'
    return '\n'.join(
        [
            f'# Ablation: {args.config.stem}, {args.epochs} epochs, seeds {", ".join(map(str, args.seeds))}',
            '',
            f'{args.train_images:,} training images, {"bf16" if args.amp else "fp32"}. Scores on frozen features '
            f'(linear probe on cached features; kNN with k = {args.k}); L1 of view 1 over the last batches of '
            f'training, in [0, 1]. {spread}',
            '',
            *(line for study in args.study for line in table(study, cells, args.seeds)),
            'Versions: ' + ', '.join(f'{name} {version}' for name, version in stack_versions().items()) + '.',
            '',
        ]
    )


def cell_file(name: str, seed: int, args: argparse.Namespace) -> Path:
    """Where a cell keeps its settings and, once finished, its scores."""
    return args.work_dir / name / f'seed_{seed}' / 'cell.json'


def prepare(args: argparse.Namespace) -> tuple[dict[str, Any], dict[tuple[str, int], dict[str, Any] | None]]:
    """Check everything before anything is trained, and complete ``args``.

    Returns:
        The settings that all cells share, and per cell its scores, or None for what is to be done.

    Raises:
        ValueError: Data, config, work dir or options are unusable.
    """
    from mmengine.config import Config

    from repre_mm.datasets import find_images
    from repre_mm.datasets.image_folder import resolve_split
    from repre_mm.toy_scenes import make_toy_scenes

    if args.data is None:
        make_toy_scenes('data/toy_scenes')
        args.data = Path('data/toy_scenes/cls')
    base = Config.fromfile(args.config)
    if base.model.type != 'repre_mm.RePreAlgorithm':
        raise UserError(f'{args.config} has no RePreAlgorithm to ablate: name one of the repre_* configs')
    args.epochs = base.train_cfg.max_epochs if args.epochs is None else args.epochs
    args.train_images, _ = (len(find_images(resolve_split(args.data, split))) for split in ('train', 'val'))
    if args.epochs < 1 or not 1 <= args.k <= args.train_images:
        raise UserError(
            f'--epochs {args.epochs} must be positive, and --k {args.k} between 1 and the {args.train_images} training '
            f'images of {args.data}'
        )
    common = {'config': args.config.name, 'data': str(args.data)}
    common |= {key: getattr(args, key) for key in ('epochs', 'train_images', 'k', 'amp')}
    variants = dict.fromkeys(variant for study in args.study for variant in STUDIES[study][1].values())
    cells = {
        (name, seed): kept(cell_file(name, seed, args), {**common, 'overrides': VARIANTS[name], 'seed': seed})
        for name in variants
        for seed in args.seeds
    }
    return common, cells


def run(args: argparse.Namespace, common: dict, cells: dict[tuple[str, int], dict[str, Any] | None]) -> None:
    """Train and score the cells that are left, then write the tables."""
    from tqdm import tqdm

    from repre_mm.cli.evaluation import write_json

    left = [cell for cell, scores in cells.items() if scores is None]
    print(f'{len(cells)} cells of {args.epochs} epochs: {len(cells) - len(left)} finished before, {len(left)} to do')
    # One bar for all cells: the time left is that of the whole.
    with tqdm(total=len(left) * args.epochs, desc='ablation', unit='epoch', disable=not left) as bar:
        for number, (name, seed) in enumerate(left, 1):
            bar.set_postfix_str(f'cell {number}/{len(left)}: {name}, seed {seed}')
            path = cell_file(name, seed, args)
            path.parent.mkdir(parents=True, exist_ok=True)
            cell = {'settings': {**common, 'overrides': VARIANTS[name], 'seed': seed}}
            write_json(cell, path)  # begun: what is found here later was made with these settings
            cell['scores'] = cells[name, seed] = measure(name, seed, args, bar)
            write_json(cell, path)

    text = report(cells, args)
    (args.work_dir / 'ablation.md').write_text(text)
    rows = [{'variant': name, 'seed': seed, **scores} for (name, seed), scores in cells.items()]
    studies = {study: STUDIES[study][1] for study in args.study}
    write_json({'settings': common, 'studies': studies, 'cells': rows}, args.work_dir / 'ablation.json')
    print(f'\n{text}\n{args.work_dir}/ablation.md, {args.work_dir}/ablation.json')


def main() -> None:
    args = parse_args()
    from repre_mm.cli.errors import one_line_errors

    with one_line_errors():
        common, cells = prepare(args)
    try:
        run(args, common, cells)
    except KeyboardInterrupt:
        sys.exit('stopped: the same command goes on from here')


if __name__ == '__main__':
    main()
