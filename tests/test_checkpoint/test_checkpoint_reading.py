"""Reading checkpoint files: what is accepted, what is refused, and what the refusal says."""

import argparse
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from repre_mm.checkpoint import CheckpointError, read_checkpoint, reading


def _training_checkpoint() -> dict:
    hub = MessageHub('test_checkpoint_reading')
    hub.update_scalar('train/loss', 1.5)
    hub.update_scalar('train/loss', 0.5)
    hub.update_info('max_iters', 10)
    return {
        'state_dict': {'backbone.w': torch.arange(6.0).view(2, 3)},
        'meta': {'epoch': 3, 'cfg': 'model = dict()', 'seed': np.int64(7)},
        'message_hub': hub.state_dict(),
        'optimizer': {'state': {}, 'param_groups': [{'lr': 0.1, 'params': [0]}]},
    }


def test_training_checkpoint_comes_back_whole(tmp_path):
    expected = _training_checkpoint()
    torch.save(expected, tmp_path / 'epoch_3.pth')
    checkpoint = read_checkpoint(tmp_path / 'epoch_3.pth')
    torch.testing.assert_close(checkpoint['state_dict'], expected['state_dict'])
    assert checkpoint['meta'] == expected['meta']
    history = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    np.testing.assert_array_equal(history.data[0], [1.5, 0.5])
    assert history.mean() == 1.0


def test_legacy_format_is_read(tmp_path):
    torch.save({'w': torch.ones(2)}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    torch.testing.assert_close(read_checkpoint(tmp_path / 'old.pth')['w'], torch.ones(2))


def _message(path, **kwargs) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, **kwargs)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_missing_file_lists_what_is_there(tmp_path):
    torch.save({}, tmp_path / 'epoch_1.pth')
    assert 'epoch_1.pth' in _message(tmp_path / 'epoch_2.pth')
    assert 'no folder' in _message(tmp_path / 'nowhere' / 'epoch_2.pth')


def test_folder(tmp_path):
    assert 'is a folder' in _message(tmp_path)


@pytest.mark.parametrize(
    ('content', 'cause'),
    [
        (b'', 'empty'),
        (b'<!DOCTYPE html><html>404</html>', 'web page'),
        (b'\n <HTML><body>login</body></HTML>', 'web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:00', 'git lfs pull'),
        (b'just some text', 'not a checkpoint'),
        (bytes(range(256)) * 8, 'not a checkpoint'),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, content, cause):
    path = tmp_path / 'weights.pth'
    path.write_bytes(content)
    assert cause in _message(path)


@pytest.mark.parametrize('zip_format', [True, False])
@pytest.mark.parametrize('share', [0.02, 0.5, 0.99])
def test_truncated(tmp_path, share, zip_format):
    path = tmp_path / 'cut.pth'
    torch.save({'w': torch.rand(1000)}, path, _use_new_zipfile_serialization=zip_format)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert 'damaged' in _message(path)


def test_not_a_dictionary(tmp_path):
    torch.save(torch.ones(2), tmp_path / 'tensor.pth')
    assert 'holds a Tensor' in _message(tmp_path / 'tensor.pth')


def test_options_of_a_training_are_read_without_running_code(tmp_path):
    options = argparse.Namespace(lr=0.3, betas=(0.9, 0.999), arch='vit_small', nested=argparse.Namespace(k=[1, None]))
    torch.save({'args': options, 'w': torch.ones(2)}, tmp_path / 'dino.pth')
    checkpoint = read_checkpoint(tmp_path / 'dino.pth')
    assert type(checkpoint['args']) is argparse.Namespace
    assert checkpoint['args'] == options


class Custom:
    """A class that only full unpickling rebuilds."""

    def __init__(self):
        self.level = 3


def test_what_is_not_plain_is_dropped_from_the_options_with_a_line(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(reading, 'print_log', lambda line, **kwargs: lines.append(line))
    options = argparse.Namespace(lr=0.3, device=[Custom()], kind=Custom, seed=1)
    torch.save({'args': options, 'w': torch.ones(2)}, tmp_path / 'dino.pth')
    checkpoint = read_checkpoint(tmp_path / 'dino.pth')
    assert vars(checkpoint['args']) == {'lr': 0.3, 'seed': 1}
    torch.testing.assert_close(checkpoint['w'], torch.ones(2))
    name = f'{Custom.__module__}.Custom'
    assert lines == [f'{tmp_path}/dino.pth: left out of its options: device ({name}), kind ({name})']
    assert read_checkpoint(tmp_path / 'dino.pth', trust=True)['args'].device[0].level == 3


@pytest.mark.parametrize('place', [lambda x: x, lambda x: [{'k': x}], lambda x: {x: 1}])
def test_unpickling_elsewhere_needs_the_opt_in(tmp_path, place):
    path = tmp_path / 'moco.pth'
    torch.save({'args': argparse.Namespace(lr=0.3), 'extra': place(Custom()), 'w': torch.ones(2)}, path)
    message = _message(path)
    assert f'{Custom.__module__}.Custom' in message
    assert 'trust=True' in message
    assert read_checkpoint(path, trust=True)['args'].lr == 0.3


def test_settings_of_yacs_are_read_as_a_dictionary(tmp_path, monkeypatch):
    """MoBY's and Swin's trainings save them."""
    module = types.ModuleType('yacs.config')
    module.CfgNode = type('CfgNode', (dict,), {'__module__': 'yacs.config'})
    monkeypatch.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
    monkeypatch.setitem(sys.modules, 'yacs.config', module)
    settings = module.CfgNode(lr=0.1, model=module.CfgNode(type='moby'))
    settings.__dict__['__immutable__'] = True
    torch.save({'config': settings, 'model': {'w': torch.ones(2)}}, tmp_path / 'moby.pth')
    monkeypatch.delitem(sys.modules, 'yacs.config')
    assert read_checkpoint(tmp_path / 'moby.pth')['config'] == {'lr': 0.1, 'model': {'type': 'moby'}}


def _global(module: str, name: str) -> bytes:
    return f'c{module}\n{name}\n'.encode()


def _string(text: str) -> bytes:
    return b'X' + struct.pack('<I', len(text)) + text.encode()


def test_log_history_cannot_smuggle_code_in(tmp_path):
    """With the bare ``getattr`` of MMEngine's allow-list this file runs code."""
    proof = tmp_path / 'proof'
    get = _global('__builtin__', 'getattr')
    payload = (
        b'\x80\x02'
        # HistoryBuffer.__new__(HistoryBuffer); its state: __setstate__ = getattr(getattr.__self__, 'exec')
        + (_global('mmengine.logging.history_buffer', 'HistoryBuffer') + b')\x81}' + _string('__setstate__'))
        + (get + get + get + _string('__self__') + b'\x86R' + _string('exec') + b'\x86Rsb')
        # its state once more, which now is exec(...)
        + (_string(f"import pathlib; pathlib.Path('{proof}').touch()") + b'b.')
    )
    harmless, path = tmp_path / 'harmless.pth', tmp_path / 'evil.pth'
    torch.save({}, harmless)
    with zipfile.ZipFile(harmless) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            target.writestr(name, payload if name.endswith('data.pkl') else source.read(name))
    assert 'refused' in _message(path)
    assert not proof.exists()
