"""Pre-train from Python, by the code of ``repre train``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from repre_mm.cli.training import prepare_training, training_parser
from repre_mm.utils.errors import UserError


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: Holds config, log and checkpoints; :func:`repre_mm.load_encoder` takes it.
        epochs: How long it was.
        scores: The newest of each logged quantity: losses, weights, and kNN where the data has classes.
    """

    folder: Path
    epochs: int
    scores: dict[str, float]


def pretrain(
    data: str | os.PathLike,
    out: str | os.PathLike,
    *,
    method: str = 'mocov3',
    encoder: str | None = None,
    repre: bool = True,
    config: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    init_from: str | os.PathLike | None = None,
    amp: bool = False,
    resume: bool = False,
) -> Run:
    """Pre-train an encoder on images without labels, in this process.

    Args:
        data: A folder of images, at any depth.
        out: Where the run goes.
        method: ``'mocov3'``, ``'dino'`` or ``'simclr'`` (the methods of ``configs/recipes``).
        encoder: A timm model, such as ``'vit_small_patch16_224'``; default: the config's own.
        repre: With the reconstruction branch, or plain.
        config: The path or name of another config, in place of method and repre; default: the recipe for a CPU.
        epochs: Default: by the number of images, as the config says.
        batch_size: Images per step; the learning rate follows.
        init_from: Weights to go on from: a run, or a released file.
        amp: Train in bf16.
        resume: Go on from the newest checkpoint in ``out``.

    Returns:
        The finished run.

    Raises:
        UserError: The data, an option or a checkpoint is wrong; nothing was started.
    """
    if config is None:
        config = f'recipes/{"repre_" if repre else ""}{method}_vit-tiny_cpu'
    words = [config, '--data', data, '--work-dir', out]
    options = {'--epochs': epochs, '--batch-size': batch_size, '--init-from': init_from}
    options['--encoder'] = f'timm:{encoder}' if encoder else None
    for name, value in options.items():
        words += [] if value is None else [name, value]
    words += [name for name, wanted in (('--amp', amp), ('--resume', resume)) if wanted]
    try:
        args = training_parser().parse_args([str(word) for word in words])
    except SystemExit as error:
        raise UserError('the options are wrong: argparse has said which on standard error') from error
    runner = prepare_training(args)
    runner.train()
    history = runner.message_hub.log_scalars
    scores = {
        name.removeprefix('train/').removeprefix('val/'): float(values.current()) for name, values in history.items()
    }
    return Run(Path(runner.work_dir), runner.epoch, scores)
