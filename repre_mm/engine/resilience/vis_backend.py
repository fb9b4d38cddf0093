"""Log numbers to a file, to TensorBoard, W&B or MLflow, and survive a full disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.visualization import LocalVisBackend as UpstreamLocalVisBackend
from mmengine.visualization import MLflowVisBackend, TensorboardVisBackend, WandbVisBackend

from repre_mm.registry import VISBACKENDS
from repre_mm.utils.errors import UserError, plain_message


@VISBACKENDS.register_module()
class LocalVisBackend(UpstreamLocalVisBackend):
    """mmengine's backend (``vis_data/scalars.json``), but a failed write does not end the training.

    The first of several failures in a row is logged. Checkpoints hold all numbers too.
    """

    _failing = False

    def add_image(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Save an image, unless it is one of the reconstructions, which have a folder of their own."""
        if name != 'reconstructions':
            super().add_image(name, *args, **kwargs)

    def _dump(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._dump(*args, **kwargs)
            self._failing = False
        except OSError as error:
            if not self._failing:
                MMLogger.get_current_instance().warning(f'could not log numbers: {error}. Training goes on')
            self._failing = True


def _guarded(upstream: type) -> type:
    """Register a backend of mmengine as ``repre_mm.NAME``, with failures that are logged once and end no training."""

    def guard(name: str) -> Callable:
        def call(self: Any, *args: Any, **kwargs: Any) -> None:
            try:
                getattr(upstream, name)(self, *args, **kwargs)
            except Exception as error:  # of a library, a disk or a server
                if not self.failed:
                    MMLogger.get_current_instance().warning(
                        f'{upstream.__name__} failed, so it may miss numbers: {plain_message(error)}. Training goes on'
                    )
                self.failed = True

        return call

    guards = {name: guard(name) for name in ('add_config', 'add_graph', 'add_image', 'add_scalar', 'add_scalars')}
    members = {'__doc__': _guarded.__doc__, '__module__': __name__, 'failed': False, 'close': guard('close'), **guards}
    return VISBACKENDS.register_module(module=type(upstream.__name__, (upstream,), members))


class _Wandb(WandbVisBackend):
    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Log the config; mmengine also uploads every Python file below the working folder."""
        self.experiment.config.update(config.to_dict(), allow_val_change=True)


class _MLflow(MLflowVisBackend):
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Log an image as a file, for which mmengine's name lacks an extension."""
        super().add_image(f'{name}/{step}.png', image, step)


_Wandb.__name__, _MLflow.__name__ = 'WandbVisBackend', 'MLflowVisBackend'
TensorboardVisBackend, _, _ = map(_guarded, (TensorboardVisBackend, _Wandb, _MLflow))
#: Loggers by their names on the command line, which are those of their Python packages: their backends.
LOGGERS = {
    'tensorboard': {'type': 'repre_mm.TensorboardVisBackend'},
    'wandb': {'type': 'repre_mm.WandbVisBackend'},
    # No copies of logs, which would grow with each resume: they lie beside it.
    'mlflow': {'type': 'repre_mm.MLflowVisBackend', 'artifact_suffix': ()},
}


def add_loggers(cfg: Config, names: Sequence[str]) -> None:
    """Let a run log to TensorBoard, Weights & Biases or MLflow, too.

    Args:
        cfg: Gets the backends.
        names: Keys of :data:`LOGGERS`.

    Raises:
        UserError: A package is missing.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserError(f"--logger {' '.join(missing)}: not installed. pip install 'repre_mm[loggers]'")
    backends = {name: dict(LOGGERS[name]) for name in names}
    server = os.environ.get('MLFLOW_TRACKING_URI', 'file:')  # which mmengine passes over
    if 'mlflow' in names and not server.startswith('file:'):  # mlflow itself leaves an earlier run's folder there
        backends['mlflow']['tracking_uri'] = server
    cfg.setdefault('visualizer', {'type': 'Visualizer', 'vis_backends': [{'type': 'repre_mm.LocalVisBackend'}]})
    cfg.visualizer.vis_backends = [*cfg.visualizer.get('vis_backends', ()), *backends.values()]
