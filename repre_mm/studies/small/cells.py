"""Cells of the small benchmark: what they train, how long it takes, how one is run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from tqdm import tqdm

from repre_mm.engine.needs import seconds_per_step
from repre_mm.evaluation import EncoderName, load_frozen_encoder
from repre_mm.studies.ablation import BASES, VARIANTS, Base, Cell, Settings, cell_config, kept_scores
from repre_mm.studies.ablation_run import train_here
from repre_mm.studies.small.data import PART_TILES, SEG_TILES, Sources, prepare
from repre_mm.studies.small.scores import score_encoder
from repre_mm.utils.atomic import write_json
from repre_mm.utils.errors import UserError
from repre_mm.utils.stack import stack_versions
from repre_mm.visualization.runs import read_curves

METHODS = {base.method: base for base in BASES['small']}
#: Names of the two arms of every pair among :data:`repre_mm.studies.ablation.VARIANTS`.
PLAIN, REPRE = 'none', 'default'
#: A cell that trains nothing.
RANDOM = 'random'
_MEASUREMENTS = 40  # of the gradients, over a training


@dataclass(frozen=True)
class Bench:
    """One benchmark: its settings, images and folders.

    Attributes:
        settings: Of the trainings; ``size`` is ``'small'``.
        sources: Of the images.
        work_dir: Of the cells' files.
        configs: The project's folder of configs.
    """

    settings: Settings
    sources: Sources
    work_dir: Path
    configs: Path

    def file(self, cell: Cell) -> Path:
        """The result of a cell."""
        return self.work_dir / cell.folder / 'cell.json'

    def cell_settings(self, cell: Cell) -> dict[str, Any]:
        """Everything that decides a cell's result, for JSON."""
        variant = cell if cell.variant != RANDOM else cell._replace(variant=PLAIN)
        return {**self.settings.cell_settings(variant), 'variant': cell.variant, **asdict(self.sources)}

    def config(self, cell: Cell) -> Config:
        """The config of a cell; RePre's also measures the gradients of both losses."""
        # A random encoder is the same in all methods.
        trained = cell if cell.variant != RANDOM else Cell(next(iter(METHODS.values())), PLAIN, cell.seed)
        cfg = cell_config(trained, self.settings, self.work_dir, self.configs)
        cfg.experiment_name = cell.folder.as_posix().replace('/', '_')
        if cfg.model.get('algorithm'):
            interval = max(self.steps(cfg) // _MEASUREMENTS, 1)
            cfg.custom_hooks = [dict(type='repre_mm.GradientBalanceHook', interval=interval)]
        return cfg

    def steps(self, cfg: Config) -> int:
        """Steps of a training."""
        return cfg.train_cfg.max_epochs * (self.settings.train_images // cfg.train_dataloader.batch_size)

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """What a finished cell wrote, or None.

        Raises:
            UserError: It was run with other settings.
        """
        scores = kept_scores(self.file(cell), self.cell_settings(cell))
        return None if scores is None else read_result(self.file(cell))


def read_result(path: Path) -> dict[str, Any]:
    """Read the file of a finished cell."""
    import json

    return json.loads(path.read_text())


def cells_of(methods: Sequence[str], arms: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """All cells, one seed after the other, so that an unfinished benchmark has whole pairs; then random encoders.

    Raises:
        UserError: A method or an arm is unknown, or there is none.
    """
    for name, given, known in (('--methods', methods, METHODS), ('--arms', arms, VARIANTS), ('--seeds', seeds, None)):
        unknown = [one for one in given if known is not None and one not in known]
        if unknown or not given:
            raise UserError(
                f'{name} {" ".join(map(str, unknown))}: choose from {", ".join(known or ["0", "1", "..."])}'
            )
    cells = [Cell(METHODS[method], arm, seed) for seed in seeds for method in methods for arm in arms]
    return [*cells, *(Cell(Base(RANDOM, ''), RANDOM, seed) for seed in seeds)]


def plan(bench: Bench, cells: Sequence[Cell], jobs: int) -> str:
    """Say what is to be done and how long it takes, after ten measured steps of every kind of cell."""
    left = [cell for cell in cells if bench.result(cell) is None]
    done = [result for cell in cells if (result := bench.result(cell))]
    lines = [f'{len(cells)} cells: {len(cells) - len(left)} finished before, {len(left)} to do']
    seconds: dict[tuple[Base, str], float] = {}
    for cell in left:
        if cell.variant != RANDOM and cell[:2] not in seconds:
            cfg = bench.config(cell)
            per_step, steps = seconds_per_step(cfg), bench.steps(cfg)
            seconds[cell[:2]] = per_step * steps
            lines.append(
                f'  {cell.base.method}, {cell.variant}: {steps:,} steps of {per_step:.2f} s, '
                f'{per_step * steps / 60:.0f} min of training'
            )
    scoring = statistics.median(r['cost']['score_wall_s'] for r in done) if done else _guess_scoring(bench, seconds)
    total = sum(seconds.get(cell[:2], 0.0) + scoring for cell in left)
    lines.append(f'  scores: about {scoring / 60:.1f} min a cell')
    lines.append(f'about {total / 60 / jobs:.0f} min in all, {jobs} at a time')
    return '\n'.join(lines)


def _guess_scoring(bench: Bench, seconds: dict[tuple[Base, str], float]) -> float:
    """From the training: a step passes two views of each image forward and backward, which is six forward passes."""
    tiles = sum(rows * columns for (rows, columns), folder in _tiles(bench.sources) if folder)
    images = bench.settings.train_images * 1.4 + 500 * tiles
    per_image = min(
        (
            total / (bench.settings.train_images * bench.config(Cell(*kind, 0)).train_cfg.max_epochs)
            for kind, total in seconds.items()
        ),
        default=0.0,
    )
    return images * per_image / 6 + 30


def _tiles(sources: Sources) -> list[tuple[tuple[int, int], str | None]]:
    return [(SEG_TILES, sources.seg), (PART_TILES, sources.parts)]


def run_cell(bench: Bench, cell: Cell) -> None:
    """Train, or go on training, and score one cell in this process, on one thread; writes its file."""
    torch.set_num_threads(1)
    path, cfg = bench.file(cell), bench.config(cell)
    cfg.work_dir = str(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {'settings': bench.cell_settings(cell)}
    write_json(content, path)  # before the training, so that a later run finds its settings
    cost: dict[str, Any] = {'steps': 0}
    weights = RANDOM
    if cell.variant != RANDOM:
        clocks = time.process_time(), time.monotonic()
        resumed_at = train_here(cfg, tqdm(disable=True))
        epochs = cfg.train_cfg.max_epochs
        share = epochs / max(epochs - resumed_at, 1)  # of the whole training, by that of this process
        cost = {
            'steps': bench.steps(cfg),
            'train_cpu_s': share * (time.process_time() - clocks[0]),
            'train_wall_s': share * (time.monotonic() - clocks[1]),
            'resumed_at_epoch': resumed_at,
        }
        weights = str(path.parent / f'epoch_{epochs}.pth')
    clock = time.monotonic()
    encoder = load_frozen_encoder(EncoderName(cfg, weights), seed=cell.seed)
    data = prepare(bench.sources, encoder.image_size, encoder.module.patch_embed.projection.stride[0], bench.work_dir)
    scores = score_encoder(encoder, data, k=bench.settings.k, seed=cell.seed)
    cost['score_wall_s'] = time.monotonic() - clock
    curves = {} if cell.variant == RANDOM else read_curves(path.parent)
    content |= {
        'scores': scores,
        'cost': cost,
        'curves': {
            name: [series.steps, [round(value, 6) for value in series.values]]
            for name, series in curves.items()
            if name.startswith(('loss', 'contrast', 'recon_l1', 'weight_', 'grad_'))
        },
        'machine': f'{platform.machine()}, {os.cpu_count()} cores, one thread',
        'versions': stack_versions(),
    }
    write_json(content, path)
