"""Encoders in the Hub's format: what timm reads, and a push and a pull over HTTP."""

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from fixtures.encoders import filled, mm_swin, mm_vit
from fixtures.hub import Hub

from repre_mm.apis.encoder import Encoder, load_encoder
from repre_mm.apis.hub import save_for_hub
from repre_mm.evaluation.encoders import RANDOM, EncoderName
from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.models.backbones import TimmBackbone
from repre_mm.utils.errors import UserError

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 51.0, 52.0)
ENCODERS = {
    'mmpretrain ViT': (lambda: filled(mm_vit(32, out_type='cls_token')), 32),
    'mmpretrain Swin': (lambda: filled(mm_swin()), 64),
    'timm ViT': (lambda: TimmBackbone('vit_tiny_patch16_224', img_size=32, depth=2), 32),
}


def encoder_of(module, size: int) -> Encoder:
    frozen = FrozenEncoder(module, MEAN, STD, size, network='online')
    return Encoder(frozen, EncoderName(None, RANDOM), {'network': None, 'prefix': None, 'trust': False})


@pytest.mark.parametrize('name', ENCODERS)
def test_timm_and_we_read_what_was_written(name, tmp_path):
    build, size = ENCODERS[name]
    encoder = encoder_of(build(), size)
    save_for_hub(encoder, tmp_path / 'hub', name='Tiny')
    source = f'local-dir:{tmp_path}/hub'
    images = torch.randn(2, 3, size, size)
    by_timm = timm.create_model(source, pretrained=True, num_classes=0).eval()
    torch.testing.assert_close(by_timm(images), encoder(images), rtol=1e-4, atol=1e-5)
    data = timm.data.resolve_model_data_config(by_timm)
    assert data['input_size'] == (3, size, size) and data['mean'] == pytest.approx([value / 255 for value in MEAN])
    ours = load_encoder(source, device='cpu')
    assert ours.image_size == size and ours.std == pytest.approx(STD)
    torch.testing.assert_close(ours(images), encoder(images), rtol=1e-4, atol=1e-5)


def test_vectors_that_timm_cannot_give_are_refused(tmp_path):
    # mmpretrain puts a second norm behind the average.
    with pytest.raises(UserError, match='gives other vectors'):
        save_for_hub(encoder_of(filled(mm_vit(32, out_type='avg_featmap')), 32), tmp_path / 'hub', name='Tiny')
    assert not (tmp_path / 'hub').exists()


WAY = """
import os, sys, torch, repre_mm
from pathlib import Path
from repre_mm.apis.hub import push_to_hub
folder, state = map(Path, sys.argv[1:])
print(push_to_hub(folder, 'user/tiny'))
encoder = repre_mm.load_encoder('hf-hub:user/tiny', device='cpu')
torch.save(encoder.backbone.model.state_dict(), state)
# By the name of a config, wherever an encoder is named.
from repre_mm.checkpoint.zoo import find_weights
os.environ['REPRE_WEIGHTS'] = 'hf-hub:user'
push_to_hub(folder, 'user/repre_mocov3_vit-tiny_toy')
assert Path(find_weights('repre_mocov3_vit-tiny_toy')[1]).read_bytes() == (folder / 'model.safetensors').read_bytes()
os.environ['HF_TOKEN'] = 'hf_wrong'
push_to_hub(folder, 'user/tiny')
"""


def test_push_and_pull_are_bit_identical(tmp_path):
    save_for_hub(encoder_of(TimmBackbone('vit_tiny_patch16_224', img_size=32, depth=1), 32), tmp_path / 'hub', name='T')
    hub = Hub(token='hf_secret')
    # The client reads its settings when it is imported: a process of its own.
    env = {
        'HF_ENDPOINT': hub.url,
        'HF_HOME': str(tmp_path / 'home'),
        'HF_HUB_DISABLE_XET': '1',
        'HF_TOKEN': 'hf_secret',
        'PATH': '/usr/bin:/bin',
        'PYTHONPATH': str(Path(__file__).parents[2]),
    }
    command = [sys.executable, '-c', WAY, str(tmp_path / 'hub'), str(tmp_path / 'state.pth')]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert '/commit/' in done.stdout, done.stderr[-2000:]
    assert 'hf_secret' not in done.stdout + done.stderr + ''.join(hub.requests)
    assert set(hub.files['user/tiny']) == {'README.md', 'config.json', 'model.safetensors'}
    written = safetensors.torch.load_file(tmp_path / 'hub/model.safetensors')
    assert all(torch.equal(written[key], value) for key, value in torch.load(tmp_path / 'state.pth').items())
    assert 'user/tiny was not uploaded' in done.stderr and 'hf auth login' in done.stderr
