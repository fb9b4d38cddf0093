"""The state that a checkpoint holds: mmengine's, and as it was when the save began."""

import threading
from functools import partial
from types import SimpleNamespace

import torch
from fixtures.comparison import training_differences
from fixtures.data import make_image_folder
from fixtures.resuming import AfterIteration, make_runner

from repre_mm.checkpoint import read_checkpoint
from repre_mm.engine import SafeCheckpointHook
from repre_mm.engine.resilience import training_state
from repre_mm.engine.resilience.background import run_in_background, wait_for_background


def test_same_bytes_as_without_background(tmp_path, monkeypatch):
    """Though the weights, the averages of Adam and the log change while the copy waits to be written."""
    monkeypatch.setattr(training_state, 'time', SimpleNamespace(strftime=lambda layout: 'now'))
    found = {}

    def save_twice(runner):
        found['mmengine'] = runner.save_checkpoint(str(tmp_path), 'mmengine.pth', meta=dict(epoch=0, iter=2))
        for name in ('waiting', 'background'):
            hook = SafeCheckpointHook(background=name == 'background')
            hook.before_train(runner)
            gate = threading.Event()
            if hook.background:
                run_in_background(partial(gate.wait, 20))
            hook._write(runner, 'same.pth', dict(epoch=0, iter=2))
            if hook.background:
                with torch.no_grad():
                    for tensor in runner.model.state_dict().values():
                        tensor.zero_()
                for state in runner.optim_wrapper.optimizer.state.values():
                    state['exp_avg'].fill_(7)
                    state['step'].fill_(99)
                runner.message_hub.update_scalar('train/loss', 1e9)
            gate.set()
            wait_for_background()
            found[name] = (tmp_path / 'same.pth').read_bytes()

    images = make_image_folder(tmp_path / 'images')
    runner = make_runner(images, tmp_path, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1))
    runner.register_hook(AfterIteration(2, save_twice))
    runner.train()
    assert found['background'] == found['waiting']
    (tmp_path / 'waiting.pth').write_bytes(found['waiting'])
    ours, upstream = (read_checkpoint(tmp_path / name) for name in ('waiting.pth', 'mmengine.pth'))
    assert list(ours) == list(upstream)
    assert ours['meta'].keys() == upstream['meta'].keys()
    assert training_differences(ours, upstream) == []
