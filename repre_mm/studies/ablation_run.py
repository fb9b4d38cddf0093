"""Train and score the cells of an ablation; a stopped one continues."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from tqdm import tqdm

from repre_mm.datasets import open_source
from repre_mm.engine.launch import build_runner
from repre_mm.evaluation import PROTOCOLS as LINEAR_PROTOCOLS
from repre_mm.evaluation import EncoderName, evaluate_config, linear_eval, load_frozen_encoder
from repre_mm.studies.ablation import Cell, Settings, base_config, cell_config, kept_scores
from repre_mm.utils.atomic import write_json
from repre_mm.utils.errors import UserError
from repre_mm.utils.package import FILES
from repre_mm.visualization.runs import read_curves

#: Method -> linear protocol of its paper-size encoders.
PROTOCOLS = {'MoCo v3': 'mocov3', 'MoBY': 'moby'}


def prepare(settings: Settings, cells: Sequence[Cell], work_dir: Path, configs: Path) -> tuple[Settings, dict]:
    """Check everything before any training.

    Args:
        settings: Without ``train_images``.
        cells: See :func:`repre_mm.studies.ablation.cells_of`.
        work_dir: Of the cells' files.
        configs: The project's folder of configs.

    Returns:
        The settings with ``train_images``, and the scores of each cell, None for an unfinished one.

    Raises:
        UserError: Data, config, work dir or options are unusable.
    """
    if not cells:
        raise UserError('nothing to train: the studies have no cell of these methods and encoders')
    train_images, _ = (len(open_source(settings.data, split).images()) for split in ('train', 'val'))
    if settings.epochs is not None and settings.epochs < 1:
        raise UserError(f'--epochs {settings.epochs} must be positive')
    if settings.gpus < 1:
        raise UserError(f'--gpus {settings.gpus} must be positive')
    if not 1 <= settings.k <= train_images:
        raise UserError(f'--k {settings.k} must be between 1 and the {train_images} training images of {settings.data}')
    for base in dict.fromkeys(cell.base for cell in cells):
        base_config(base, settings, configs)
    settings = replace(settings, train_images=train_images)
    return settings, {cell: kept_scores(_file(cell, work_dir), settings.cell_settings(cell)) for cell in cells}


def run(
    settings: Settings,
    cells: dict[Cell, dict[str, Any] | None],
    work_dir: Path,
    configs: Path,
    *,
    device: str = 'cpu',
    workers: int = 2,
) -> None:
    """Train and score the unfinished cells; the scores go into ``cells`` and into each cell's file.

    ``settings`` and ``cells`` are :func:`prepare`'s; ``device`` and ``workers`` (image loading processes) are for the
    scores.
    """
    left = [cell for cell, scores in cells.items() if scores is None]
    print(f'{len(cells)} cells: {len(cells) - len(left)} finished before, {len(left)} to do')
    todo = {cell: cell_config(cell, settings, work_dir, configs) for cell in left}
    # One bar for all cells, to show the total time left.
    total = sum(cfg.train_cfg.max_epochs for cfg in todo.values())
    with tqdm(total=total, desc='ablation', unit='epoch', disable=not left) as bar:
        for number, (cell, cfg) in enumerate(todo.items(), 1):
            bar.set_postfix_str(f'cell {number}/{len(left)}: {cell.folder}')
            path = _file(cell, work_dir)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {'settings': settings.cell_settings(cell)}
            write_json(content, path)  # before the training, so that a later run finds its settings
            started_at = train_here(cfg, bar) if settings.gpus == 1 else _train_there(cfg, settings.gpus, bar)
            scores = _scores(cell, cfg, settings, device, workers)
            content['scores'] = cells[cell] = {**scores, 'resumed_at': started_at}
            write_json(content, path)


def _file(cell: Cell, work_dir: Path) -> Path:
    return work_dir / cell.folder / 'cell.json'


def train_here(cfg: Config, bar: tqdm) -> int:
    """Train in this process, or go on; return the number of epochs that an earlier run completed."""

    class Progress(Hook):
        started_at = 0

        def before_train(self, runner) -> None:
            self.started_at = runner.epoch
            bar.update(runner.epoch)

        def after_train_epoch(self, runner) -> None:
            bar.update()

    cfg.resume = any(Path(cfg.work_dir).glob('*.pth'))
    runner = build_runner(cfg)
    progress = Progress()
    runner.register_hook(progress)
    runner.train()
    return progress.started_at


def _train_there(cfg: Config, gpus: int, bar: tqdm) -> int:
    """Train in several processes by ``tools/dist_train.sh``; returns as :func:`train_here`."""
    folder = Path(cfg.work_dir)
    done = max((int(path.stem.split('_')[1]) for path in folder.glob('epoch_*.pth')), default=0)
    config = folder / 'cell.py'
    cfg.dump(config)
    command = ['bash', FILES / 'tools/dist_train.sh', config, str(gpus), '--work-dir', folder, '--resume']
    subprocess.run(command, check=True)
    bar.update(cfg.train_cfg.max_epochs)
    return done


def _scores(cell: Cell, cfg: Config, settings: Settings, device: str, workers: int) -> dict[str, float | None]:
    """Linear top-1, after its best epoch where it has several, kNN top-1 and the final L1 (None: plain method)."""
    checkpoint = Path(cfg.work_dir) / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    options = {'device': device, 'workers': workers, 'seed': cell.seed, 'progress': False}
    # Toy runs and single configs are scored on cached features, in seconds.
    cached = settings.config is not None or settings.size == 'toy'
    protocols = ('knn', 'linear') if cached else ('knn',)
    scores = evaluate_config(cfg, checkpoint, protocols=protocols, knn_options={'k': [settings.k]}, **options)
    if not cached:
        state = Path(cfg.work_dir) / 'linear.state.pth'
        protocol = PROTOCOLS[cell.base.method]
        loading = {'device': device, 'seed': cell.seed, **LINEAR_PROTOCOLS[protocol].backbone_options}
        encoder = load_frozen_encoder(EncoderName(cfg, str(checkpoint)), **loading)
        scores |= linear_eval(
            encoder, encoder.data_root, protocol=protocol, state=state, workers=workers, seed=cell.seed
        )
    l1 = read_curves(cfg.work_dir).get('recon_l1')
    return {
        'linear_top1': (scores['linear'].get('best_epoch') or scores['linear'])['top1'],
        'knn_top1': scores['knn']['top1'][settings.k],
        'recon_l1': l1.values[-1] if l1 else None,
    }
