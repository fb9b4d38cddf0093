"""The choice between online and target network; test_dino_commands.py has it through the tools."""

import pytest
import timm
import torch
from fixtures.encoders import filled
from fixtures.methods import build
from mmengine.config import Config
from torch.testing import assert_close

from repre_mm.evaluation import EncoderName, EvaluationError, choose_network, load_frozen_encoder
from repre_mm.evaluation.networks import live_networks

NORMALISATION = 'dict(mean=[120.0, 115.0, 100.0], std=[58.0, 57.0, 56.0])'


def training_checkpoint(method, path, repre):
    """A file as the Runner saves it, whose online and target networks differ; and the model."""
    model = build(method, 'vit', repre=repre)
    filled(live_networks(model)['online'], seed=3)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return model


def method_config(method):
    backbone = "dict(type='MoCoV3ViT', img_size=32, patch_size=8, arch=dict(embed_dims=32, num_layers=6, num_heads=2, "
    backbone += 'feedforward_channels=64))'
    kind = {'mocov3': 'MoCoV3', 'dino': 'repre_mm.DINO', 'moby': 'repre_mm.MoBY', 'byol': 'BYOL'}[method]
    text = f"image_size = 32\nmodel = dict(algorithm=dict(type='{kind}', backbone={backbone}, "
    return Config.fromstring(f'{text}data_preprocessor={NORMALISATION}))', '.py')


@pytest.mark.parametrize('repre', [False, True])
@pytest.mark.parametrize('method', ['dino', 'mocov3', 'moby', 'byol'])
def test_network_that_the_authors_evaluate(method, repre, tmp_path):
    model = training_checkpoint(method, tmp_path / 'epoch_1.pth', repre)
    algorithm = getattr(model, 'algorithm', model)
    online = algorithm.backbone.state_dict()
    ema = algorithm.target_net if method == 'byol' else algorithm.momentum_encoder
    target = ema.module[0].state_dict()
    assert not torch.equal(online['patch_embed.projection.weight'], target['patch_embed.projection.weight'])
    name = EncoderName(method_config(method), str(tmp_path / 'epoch_1.pth'))
    encoder = load_frozen_encoder(name)
    default, other = ('target', 'online') if method == 'dino' else ('online', 'target')
    networks = {'online': online, 'target': target}
    assert_close(encoder.module.state_dict(), networks[default], rtol=0, atol=0)
    assert encoder.network.startswith(default) and "'s authors evaluate" in encoder.network
    asked = load_frozen_encoder(name, network=other)
    assert_close(asked.module.state_dict(), networks[other], rtol=0, atol=0)
    assert asked.network.startswith(other) and f'authors evaluate the {default}' in asked.network
    by_prefix = load_frozen_encoder(name, prefix='backbone.')
    assert_close(by_prefix.module.state_dict(), online, rtol=0, atol=0)


def test_a_training_checkpoint_tells_its_method_itself(tmp_path):
    training_checkpoint('dino', tmp_path / 'epoch_1.pth', repre=True)
    checkpoint = torch.load(tmp_path / 'epoch_1.pth')
    text = "model = dict(type='repre_mm.RePreAlgorithm', algorithm=dict(type='repre_mm.DINO', backbone=dict()))"
    torch.save({**checkpoint, 'meta': {'cfg': text}}, tmp_path / 'epoch_2.pth')
    assert choose_network(tmp_path / 'epoch_2.pth').reason == "target (teacher), as DINO's authors evaluate"
    assert choose_network(tmp_path / 'epoch_1.pth').reason.startswith('online')  # no one says that it is DINO's


def test_wrong_choices(tmp_path):
    training_checkpoint('dino', tmp_path / 'epoch_1.pth', repre=False)
    with pytest.raises(EvaluationError, match='leave one out'):
        choose_network(tmp_path / 'epoch_1.pth', prefix='backbone.', network='online')
    online = {
        name: value for name, value in torch.load(tmp_path / 'epoch_1.pth')['state_dict'].items() if 'backbone' in name
    }
    torch.save({'state_dict': online}, tmp_path / 'online.pth')
    with pytest.raises(EvaluationError, match='holds the online network only'):
        choose_network(tmp_path / 'online.pth', network='target')
    torch.save(filled(timm.create_model('resnet18', num_classes=0)).state_dict(), tmp_path / 'resnet.pth')
    with pytest.raises(EvaluationError, match=r'--encoder target: in .*cannot be told apart'):
        choose_network(tmp_path / 'resnet.pth', network='target')
