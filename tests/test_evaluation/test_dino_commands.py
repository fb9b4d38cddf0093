"""The tools that score an encoder (tools/{knn,test}.py), on a DINO checkpoint.

The teacher is scored, by default and while the training runs; ``--encoder online`` takes the student.
"""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fixtures.encoders import filled
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger

from repre_mm.engine.hooks.online_knn import OnlineKNNHook
from repre_mm.models.build import build_model

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/toy/dino_vit-tiny_toy.py'
TEACHER = 'momentum_encoder.module.0.'


@pytest.fixture(scope='module')
def model():
    """DINO with a teacher that tells images apart and a student that does not."""
    dino = build_model(Config.fromfile(CONFIG))
    filled(dino.momentum_encoder.module[0], seed=3)
    with torch.no_grad():
        for parameter in dino.backbone.parameters():
            parameter.zero_()
    return dino


@pytest.fixture(scope='module')
def files(model, tmp_path_factory):
    """Its checkpoint, and one with teacher and student swapped."""
    folder = tmp_path_factory.mktemp('dino')
    state = model.state_dict()
    swapped = dict(state)
    for name in model.backbone.state_dict():
        swapped['backbone.' + name], swapped[TEACHER + name] = state[TEACHER + name], state['backbone.' + name]
    torch.save({'state_dict': state, 'meta': {}}, folder / 'trained.pth')
    torch.save({'state_dict': swapped, 'meta': {}}, folder / 'swapped.pth')
    return folder


def online_scores(model, data_root) -> dict[str, float]:
    """What the training logs."""
    logged = {}
    cfg = Config.fromfile(CONFIG)
    runner = SimpleNamespace(
        cfg=cfg,
        model=model,
        epoch=0,
        max_epochs=1,
        logger=MMLogger.get_current_instance(),
        message_hub=MessageHub.get_current_instance(),
        visualizer=SimpleNamespace(add_scalar=lambda name, value, step: logged.update({name: value})),
    )
    hook = OnlineKNNHook({'root': str(data_root)}, cfg.image_size, cfg.mean, cfg.std, k=10, workers=0)
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    return logged


COMMANDS = {
    'knn.py': ['--k', 10, '--workers', 0, '--device', 'cpu'],
    'test.py': [],
}


@pytest.fixture
def score(files, data_root, tmp_path, monkeypatch, capsys):
    """Run a tool on one of the files; returns its scores."""

    def run(tool: str, file: str, *options: str) -> dict:
        out = tmp_path / 'out.json'
        last = ['--work-dir', tmp_path] if tool == 'test.py' else ['--out', out]
        command = [tool, CONFIG, files / file, '--data', data_root, *COMMANDS[tool], *options, *last]
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        printed = capsys.readouterr().out
        result = json.loads(printed[printed.index('{\n') :] if tool == 'test.py' else out.read_text())
        assert result['encoder'].startswith('online' if options else 'target (teacher)')
        return {name: result[name] for name in ('knn', 'linear') if name in result}

    return run


@pytest.mark.parametrize('tool', COMMANDS)
def test_the_teacher_is_scored(tool, score, model, data_root):
    teacher, student = score(tool, 'trained.pth'), score(tool, 'trained.pth', '--encoder', 'online')
    assert teacher != student
    assert score(tool, 'swapped.pth') == student
    if tool == 'knn.py':
        assert score(tool, 'swapped.pth', '--encoder', 'online') == teacher
        top1 = [scores['knn']['top1']['10'] for scores in (teacher, student)]
        assert top1[0] > 90 > 50 > top1[1]
        assert online_scores(model, data_root)['val/knn_top1'] == pytest.approx(top1[0])
