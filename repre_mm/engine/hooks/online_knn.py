"""Score the encoder by kNN while it trains, if the data has labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from repre_mm.datasets import DatasetError
from repre_mm.distributed.sharding import is_sharded
from repre_mm.evaluation.features import FrozenEncoder, extract_features
from repre_mm.evaluation.knn import knn_classify
from repre_mm.evaluation.loaders import EvaluationError, image_folder_loader
from repre_mm.evaluation.networks import live_networks
from repre_mm.registry import HOOKS
from repre_mm.utils.modules import unwrap

#: Share of the timeout of collectives that a score may take: the estimate is rough, and machines get busier.
_SHARE = 0.5


@HOOKS.register_module()
class OnlineKNNHook(Hook):
    """Log ``val/knn_top1`` (percent) from frozen features every few epochs.

    The network is the one that the method's authors evaluate: DINO's teacher, the online network of the others.

    The bank is drawn evenly from the training split, the queries are the validation split of the same folder. The
    start says what a score costs, from timed batches, and if there will be none: without class folders or without
    ``val``, or if it would take longer than the timeout of a collective. All processes encode, each its part, in bf16
    on GPUs; docs/scale.md has the arithmetic.

    Args:
        dataset: Config of the images: ``type``, ``root``, ``max_pixels``, ``value_range``; ``--data`` is its root.
        image_size: Side of the evaluation crop, in pixels.
        mean: Of the training's normalisation, in units of [0, 255].
        std: Likewise.
        interval: Epochs between two scores. The last epoch is always scored, and the start after ``--init-from``.
        k: Neighbours.
        batch_size: Images per forward of a process.
        workers: Loading processes; those of the training rest meanwhile.
        bank: Training images at most; None takes all.
    """

    priority = 'LOW'

    def __init__(
        self,
        dataset: dict,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        interval: int = 5,
        k: int = 20,
        batch_size: int = 128,
        workers: int = 2,
        bank: int | None = 100_000,
    ) -> None:
        self.root = dataset['root']
        self.decoding = {key: dataset[key] for key in ('max_pixels', 'value_range') if key in dataset}
        self.image_size, self.mean, self.std = image_size, mean, std
        self.interval, self.k, self.batch_size, self.workers, self.bank = interval, k, batch_size, workers, bank
        self._loaders: tuple[DataLoader, DataLoader] | None = None

    def before_train(self, runner: Runner) -> None:
        """Look for labelled images before the first step."""
        batch_size = self.batch_size * get_world_size()
        options = {'batch_size': batch_size, 'workers': self.workers, 'strict': False, 'decoding': self.decoding}
        try:
            bank = image_folder_loader(self.root, 'train', self.image_size, **options)
            classes = bank.dataset.metainfo['classes']
            queries = image_folder_loader(self.root, 'val', self.image_size, classes=classes, **options)
        except (DatasetError, EvaluationError) as error:
            runner.logger.info(f'no online kNN score: {error}')
            return
        count = len(bank.dataset)
        if self.bank and self.bank < count:
            bank.dataset.get_subset_(torch.arange(self.bank).mul(count).div(self.bank, rounding_mode='floor').tolist())
            runner.logger.info(f'online kNN score: by {self.bank:,} of {count:,} training images')
        if self.k > len(bank.dataset):
            runner.logger.info(f'no online kNN score: k={self.k} neighbours of {len(bank.dataset)} images')
            return
        self._loaders = bank, queries
        if not is_sharded(runner.model):
            self._check_time(runner)
        if runner.cfg.get('init_from') and runner.iter == 0 and self._loaders is not None:
            self._log_scores(runner, 0)

    def _check_time(self, runner: Runner) -> None:
        """Give up the score if it would take longer than the timeout of a collective."""
        bank, queries = self._loaders
        slowest = torch.tensor([self._seconds_per_batch(runner)])
        all_reduce(slowest, 'max')
        seconds = slowest.item() * (len(bank) + len(queries))
        limit = runner.cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 600)  # NCCL's default
        if get_world_size() == 1 or seconds < _SHARE * limit:
            runner.logger.info(f'online kNN score: about {seconds:.0f} s each')
            return
        self._loaders = None
        runner.logger.warning(
            f'no online kNN score: encoding {len(bank.dataset):,} images would take about {seconds:.0f} s, and a '
            f'collective may take {limit:.0f} s (env_cfg.dist_cfg.timeout). Raise that limit '
            f'above {seconds / _SHARE:.0f}, or score the checkpoints afterwards with tools/knn.py'
        )

    def _seconds_per_batch(self, runner: Runner) -> float:
        with torch.random.fork_rng():
            batches = iter(self._loaders[0])
            timed = [next(batches)]  # which waits for the loading processes to start
            begin = time.monotonic()
            timed += islice(batches, 1)
            frozen = self._frozen(runner)
            extract_features(frozen, timed, amp=self._amp(frozen), progress=False)
        return (time.monotonic() - begin) / len(timed)

    def after_train_epoch(self, runner: Runner) -> None:
        """Score on schedule."""
        epoch = runner.epoch + 1
        if self._loaders is not None and (epoch % self.interval == 0 or epoch == runner.max_epochs):
            self._log_scores(runner, epoch)

    def _log_scores(self, runner: Runner, epoch: int) -> None:
        # Loaders draw a seed from the global stream: scoring must not change the training that follows.
        begin = time.monotonic()
        with torch.random.fork_rng():
            frozen = self._frozen(runner)
            options = {'amp': self._amp(frozen), 'progress': False}
            bank, labels = extract_features(frozen, self._loaders[0], **options)
            queries, truth = extract_features(frozen, self._loaders[1], **options)
        guesses = knn_classify(bank.to(frozen.device), labels, queries.to(frozen.device), k=self.k)[self.k]
        top1 = 100 * (guesses == truth).double().mean().item()
        if is_main_process():
            seconds = time.monotonic() - begin
            scored = f'k={self.k}, {len(truth)} images, {seconds:.1f} s'
            runner.logger.info(f'Epoch [{epoch}] kNN: top-1 {top1:.2f} % ({scored})')
            runner.message_hub.update_scalar('val/knn_top1', top1)
            runner.visualizer.add_scalar('val/knn_top1', top1, epoch)

    @staticmethod
    def _amp(frozen: FrozenEncoder) -> bool:
        return frozen.device.type == 'cuda' and torch.cuda.is_bf16_supported()

    def _frozen(self, runner: Runner) -> FrozenEncoder:
        encoder = next(iter(live_networks(unwrap(runner.model)).values()))
        return FrozenEncoder(encoder, self.mean, self.std, self.image_size)
