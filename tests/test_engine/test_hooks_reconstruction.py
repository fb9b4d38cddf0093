"""Pictures of reconstructions: always of the first images, and never the end of a run."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from repre_mm.engine import ReconstructionHook
from repre_mm.engine.hooks import reconstruction


class Model(nn.Module):
    """Reconstructs an image as it is."""

    def data_preprocessor(self, data, training):
        return data

    def pixels(self, view):
        return view

    def reconstruct(self, images):
        return images


@pytest.fixture
def drawn(monkeypatch):
    """Pixels of the first image in each grid, and whether the disk is full."""
    disk = SimpleNamespace(full=False, images=[])

    def save(grid, path):
        if disk.full:
            raise OSError('No space left on device')
        disk.images.append((path.name, float(grid)))

    monkeypatch.setattr(reconstruction, 'reconstruction_grid', lambda images, reconstructions: images[0, 0, 0, 0])
    monkeypatch.setattr(reconstruction, 'save_png', save)
    return disk


def train(hook: ReconstructionHook, warnings: list, epochs: int = 5, model: nn.Module | None = None) -> None:
    logger = SimpleNamespace(warning=warnings.append)
    runner = SimpleNamespace(model=model or Model(), iter=0, epoch=0, max_epochs=epochs, work_dir='run', logger=logger)
    runner.visualizer = SimpleNamespace(add_image=lambda name, grid, step: None)
    for runner.epoch in range(epochs):
        for _ in range(2):
            batch = {'inputs': [torch.full((3, 3, 4, 4), 0.1 * (runner.iter + 1))] * 2}
            hook.after_train_iter(runner, 0, batch, {})
            runner.iter += 1
        hook.after_train_epoch(runner)


def test_first_images_are_drawn_on_schedule(drawn):
    train(ReconstructionHook(interval=2), warnings := [])
    assert [name for name, _ in drawn.images] == ['iter_1.png', 'iter_4.png', 'iter_8.png', 'iter_10.png']
    assert all(value == pytest.approx(0.1) for _, value in drawn.images)
    assert warnings == []


def test_full_disk_is_a_warning(drawn):
    drawn.full = True
    train(ReconstructionHook(), warnings := [], epochs=1)
    assert len(warnings) == 2 and 'No space left on device. Training goes on' in warnings[0]


def test_plain_method_has_no_pictures(drawn):
    train(ReconstructionHook(), [], model=nn.Identity())
    assert drawn.images == []
