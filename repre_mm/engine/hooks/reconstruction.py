"""Save a grid of inputs and their reconstructions on a schedule."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from repre_mm.distributed.sharding import is_sharded
from repre_mm.registry import HOOKS
from repre_mm.utils.modules import unwrap
from repre_mm.visualization import reconstruction_grid, save_png


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Save ``WORK_DIR/reconstructions/iter_N.png``: input, reconstruction and error, always of the same images.

    The images are view 1 of the run's first batch. A model without ``reconstruct`` (a plain algorithm) has no pictures.

    Args:
        interval: Epochs between two pictures; the first iteration and the last epoch are always drawn.
        num_images: Images per picture.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1, num_images: int = 8) -> None:
        self.interval = interval
        self.num_images = num_images
        self._images: Tensor | None = None  # (n, 3, H, W) in [0, 1]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict, outputs: dict) -> None:
        """Keep the first batch and draw it once."""
        model = unwrap(runner.model)
        if self._images is None and hasattr(model, 'reconstruct'):
            view = model.data_preprocessor(data_batch, False)['inputs'][0][: self.num_images]
            self._images = model.pixels(view).clamp(0, 1).cpu()
            self._draw(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw on schedule."""
        epoch = runner.epoch + 1
        if epoch % self.interval == 0 or epoch == runner.max_epochs:
            self._draw(runner, runner.iter)

    def _draw(self, runner: Runner, iteration: int) -> None:
        # With split parameters the model's forward needs every process.
        if self._images is None or not (is_main_process() or is_sharded(runner.model)):
            return
        reconstructions = unwrap(runner.model).reconstruct(self._images).cpu()
        if is_main_process():
            grid = reconstruction_grid(self._images, reconstructions)
            runner.visualizer.add_image('reconstructions', grid, iteration)
            try:
                save_png(grid, Path(runner.work_dir) / 'reconstructions' / f'iter_{iteration}.png')
            except OSError as error:
                runner.logger.warning(f'could not save the picture of reconstructions: {error}. Training goes on')
