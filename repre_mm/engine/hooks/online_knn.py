"""Score the encoder by kNN while it trains, if the data has labels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.constants import default_pg_nccl_timeout, default_pg_timeout
from torch.utils.data import DataLoader

from repre_mm.datasets import DatasetError
from repre_mm.distributed.sharding import is_sharded
from repre_mm.evaluation.features import extract_features
from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.evaluation.knn import knn_classify
from repre_mm.evaluation.loaders import EvaluationError, image_folder_loader
from repre_mm.evaluation.networks import live_networks
from repre_mm.registry import HOOKS
from repre_mm.utils.modules import unwrap

#: Images of the bank up to which a second network is scored, since a pass is cheap.
_SMALL = 10_000
#: Share of the timeout of collectives that a score may take: the estimate is rough, and machines get busier.
_SHARE = 0.5


@HOOKS.register_module()
class OnlineKNNHook(Hook):
    """Log ``val/knn_top1`` (percent) from frozen features every few epochs.

    The network is the one that the method's authors evaluate: DINO's teacher, the online network of the others. With a
    bank of at most 10,000 images DINO's student is scored too, as ``val/knn_top1_online``.

    The bank is the training split, the queries are the validation split of the same folder. The start says if there
    will be no score: without class folders or without ``val``, or if the other processes, which wait for the main
    process, would exceed the timeout of their collectives; a few timed batches tell.

    Args:
        dataset: Config of the images: ``type``, ``root``, ``max_pixels``, ``value_range``; ``--data`` is its root.
        image_size: Side of the evaluation crop, in pixels.
        mean: Of the training's normalisation, in units of [0, 255].
        std: Likewise.
        interval: Epochs between two scores. The last epoch is always scored, and the start after ``--init-from``.
        k: Neighbours.
        batch_size: Images per forward.
        workers: Loading processes.
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
    ) -> None:
        self.root = dataset['root']
        self.decoding = {key: dataset[key] for key in ('max_pixels', 'value_range') if key in dataset}
        self.image_size, self.mean, self.std = image_size, mean, std
        self.interval, self.k, self.batch_size, self.workers = interval, k, batch_size, workers
        self._loaders: tuple[DataLoader, DataLoader] | None = None

    def before_train(self, runner: Runner) -> None:
        """Look for labelled images before the first step."""
        if not is_main_process() and not is_sharded(runner.model):
            return
        options = {'batch_size': self.batch_size, 'workers': self.workers, 'strict': False, 'decoding': self.decoding}
        try:
            bank = image_folder_loader(self.root, 'train', self.image_size, **options)
            classes = bank.dataset.metainfo['classes']
            queries = image_folder_loader(self.root, 'val', self.image_size, classes=classes, **options)
        except (DatasetError, EvaluationError) as error:
            runner.logger.info(f'no online kNN score: {error}')
            return
        if self.k > len(bank.dataset):
            runner.logger.info(f'no online kNN score: k={self.k} neighbours of {len(bank.dataset)} images')
            return
        self._loaders = bank, queries
        # With split parameters all processes encode together.
        if get_world_size() > 1 and not is_sharded(runner.model):
            self._check_time(runner)
        if runner.cfg.get('init_from') and runner.iter == 0 and self._loaders is not None:
            self._log_scores(runner, 0)

    def _check_time(self, runner: Runner) -> None:
        """Give up the score if the other processes would wait for it longer than the timeout of a collective."""
        bank, queries = self._loaders
        seconds = self._seconds_per_batch(runner) * (len(bank) + len(queries)) * len(self._networks(runner))
        limit = collective_timeout(runner.cfg)
        if seconds < _SHARE * limit:
            runner.logger.info(f'online kNN score: about {seconds:.0f} s each, while the other processes wait')
            return
        self._loaders = None
        runner.logger.warning(
            f'no online kNN score: encoding {len(bank.dataset):,} images would take about {seconds:.0f} s on one '
            f'process, and the others may wait {limit:.0f} s for it (env_cfg.dist_cfg.timeout). Raise that limit '
            f'above {seconds / _SHARE:.0f}, or score the checkpoints afterwards with tools/knn.py'
        )

    def _seconds_per_batch(self, runner: Runner) -> float:
        starts = []

        def first_batches() -> Iterator[tuple[Tensor, Tensor]]:
            for batch in islice(self._loaders[0], 3):
                starts.append(time.monotonic())
                yield batch

        encoder = next(iter(self._networks(runner).values()))
        with torch.random.fork_rng():
            frozen = FrozenEncoder(encoder, self.mean, self.std, self.image_size)
            extract_features(frozen, first_batches(), progress=False)
        begin = starts[1] if len(starts) > 1 else starts[0]  # the first batch waits for the loading processes to start
        return (time.monotonic() - begin) / max(len(starts) - 1, 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Score on schedule."""
        epoch = runner.epoch + 1
        if self._loaders is not None and (epoch % self.interval == 0 or epoch == runner.max_epochs):
            self._log_scores(runner, epoch)

    def _log_scores(self, runner: Runner, epoch: int) -> None:
        # Loaders draw a seed from the global stream: scoring must not change the training that follows.
        with torch.random.fork_rng():
            scores = {name: self._score(encoder) for name, encoder in self._networks(runner).items()}
        if not is_main_process():
            return
        count = len(self._loaders[1].dataset)
        for name, top1 in scores.items():
            key = 'val/knn_top1' if name == next(iter(scores)) else f'val/knn_top1_{name}'
            runner.logger.info(f'Epoch [{epoch}] kNN, {name} network: top-1 {top1:.2f} % (k={self.k}, {count} images)')
            runner.message_hub.update_scalar(key, top1)
            runner.visualizer.add_scalar(key, top1, epoch)

    def _networks(self, runner: Runner) -> dict[str, nn.Module]:
        networks = live_networks(unwrap(runner.model))
        return networks if len(self._loaders[0].dataset) <= _SMALL else dict([next(iter(networks.items()))])

    def _score(self, encoder: nn.Module) -> float:
        frozen = FrozenEncoder(encoder, self.mean, self.std, self.image_size)
        bank, labels = extract_features(frozen, self._loaders[0], progress=False)
        queries, truth = extract_features(frozen, self._loaders[1], progress=False)
        guesses = knn_classify(bank.to(frozen.device), labels, queries.to(frozen.device), k=self.k)[self.k]
        return 100 * (guesses == truth).double().mean().item()


def collective_timeout(cfg: dict) -> float:
    """Seconds that a process waits for the others in a collective, by a config or by torch's default."""
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    on_gpus = torch.cuda.is_available() and dist_cfg.get('backend', 'nccl') == 'nccl'
    default = default_pg_nccl_timeout if on_gpus and default_pg_nccl_timeout else default_pg_timeout
    return dist_cfg.get('timeout', default.total_seconds())
