"""Feature extraction: pooling, normalisation, and leaving the encoder as it was."""

import pytest
import torch
from mmpretrain.models import MoCoV3ViT
from torch import nn

from repre_mm.evaluation import FrozenEncoder, extract_features, global_features
from repre_mm.evaluation.features import encode
from repre_mm.models import TimmBackbone

ARCH = {'embed_dims': 24, 'num_layers': 2, 'num_heads': 2, 'feedforward_channels': 48}


def _vit(**kwargs) -> MoCoV3ViT:
    return MoCoV3ViT(arch=ARCH, img_size=32, patch_size=8, drop_rate=0.5, **kwargs)


def _plain(encoder: nn.Module) -> FrozenEncoder:
    """One whose images need no normalisation."""
    return FrozenEncoder(encoder, [0.0] * 3, [1.0] * 3, 32)


class _Returns(nn.Module):
    """Gives what it is told to."""

    def __init__(self, output):
        super().__init__()
        self.output = nn.Parameter(output) if isinstance(output, torch.Tensor) else output

    def forward(self, images):
        return self.output


def test_vectors_are_taken_and_maps_averaged():
    images, first, last = torch.rand(2, 3, 8, 8), torch.rand(2, 5), torch.rand(2, 5)
    torch.testing.assert_close(global_features(_Returns((first, last)), images), last)
    output = torch.rand(2, 5, 3, 4)
    torch.testing.assert_close(global_features(_Returns([output]), images), output.flatten(2).mean(dim=2))
    with pytest.raises(ValueError, match=r"\[2, 17, 5\].*out_type='cls_token'"):
        global_features(_Returns((torch.rand(2, 17, 5),)), images)


def test_training_encoder_is_evaluated_and_left_as_it_was():
    vit = _vit(frozen_stages=1)
    vit.train()
    vit.layers[1].ffn.eval()  # someone's choice, which no call of train() would restore
    modes = [module.training for module in vit.modules()]
    gradients = [parameter.requires_grad for parameter in vit.parameters()]
    images = torch.rand(2, 3, 32, 32)
    features = global_features(vit, images)
    torch.testing.assert_close(features, global_features(vit, images), rtol=0, atol=0)  # no dropout
    assert not features.requires_grad
    assert [module.training for module in vit.modules()] == modes
    assert [parameter.requires_grad for parameter in vit.parameters()] == gradients


def test_modes_return_after_an_error():
    vit = _vit()
    vit.train()
    with pytest.raises(Exception, match=r'shape|size|channels'):
        global_features(vit, torch.rand(1, 2, 32, 32))
    assert vit.training
    assert vit.layers[0].training


@pytest.mark.parametrize('as_type', [torch.uint8, torch.float32])
def test_extraction_normalises_and_keeps_the_order(as_type):
    vit = _vit()
    images = torch.randint(0, 256, (7, 3, 32, 32)).to(as_type)
    labels = torch.arange(7, dtype=torch.int32)
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    features, found = extract_features(FrozenEncoder(vit, mean, std, 32), batches, progress=False)
    normalised = (images.float() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(features, global_features(vit, normalised))
    assert features.dtype == torch.float32
    assert found.tolist() == list(range(7))
    assert found.dtype == torch.int64


def test_reduced_precision_stays_close():
    vit = _vit()
    batches = [(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.zeros(4))]
    encoder = FrozenEncoder(vit, [128.0] * 3, [60.0] * 3, 32)
    full, _ = extract_features(encoder, batches, progress=False)
    reduced, _ = extract_features(encoder, batches, amp=True, progress=False)
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, full)
    torch.testing.assert_close(reduced, full, rtol=0.05, atol=0.05)


def test_no_images_and_a_diverged_encoder_are_named():
    with pytest.raises(ValueError, match='no images'):
        extract_features(_plain(_vit()), [], progress=False)
    output = torch.rand(3, 5)
    output[1, 2] = float('nan')
    batches = [(torch.zeros(3, 3, 8, 8), torch.zeros(3))]
    with pytest.raises(ValueError, match='1 of 3 images are NaN'):
        extract_features(FrozenEncoder(_Returns(output), [0.0], [1.0], 8), batches, progress=False)


def _tokens(vit: MoCoV3ViT, images: torch.Tensor, blocks: int) -> torch.Tensor:
    """(B, 1 + N, C) after so many blocks and the final norm, by a shallower copy of the encoder."""
    shallow = MoCoV3ViT(arch={**vit.arch_settings, 'num_layers': blocks}, img_size=32, patch_size=8, out_type='raw')
    shallow.load_state_dict(vit.state_dict(), strict=False)
    shallow.eval()
    with torch.no_grad():
        return shallow(images)[-1]


@pytest.mark.parametrize('out_type', ['cls_token', 'avg_featmap'])
def test_class_tokens_of_the_last_blocks_and_mean_patch(out_type, monkeypatch):
    arch = {**ARCH, 'num_layers': 5}
    vit = MoCoV3ViT(arch=arch, img_size=32, patch_size=8, drop_rate=0.5, out_type=out_type)
    vit.train()
    images = torch.rand(2, 3, 32, 32)
    four = torch.cat([_tokens(vit, images, blocks)[:, 0] for blocks in (2, 3, 4, 5)], dim=1)
    torch.testing.assert_close(encode(_plain(vit), images, 'dino'), four)
    last = _tokens(vit, images, 5)
    both = torch.cat([last[:, 0], last[:, 1:].mean(dim=1)], dim=1)
    with monkeypatch.context() as patch:
        patch.setattr('repre_mm.evaluation.features.DINO_WIDE', 24)
        torch.testing.assert_close(encode(_plain(vit), images, 'dino'), both)
    torch.testing.assert_close(encode(_plain(vit), images), global_features(vit, images))
    assert vit.training
    assert not vit.layers[0]._forward_hooks


def test_tokens_of_a_timm_vit_are_those_of_its_own_forward(monkeypatch):
    options = {'img_size': 32, 'patch_size': 8, 'embed_dim': 24, 'depth': 5, 'num_heads': 2}
    encoder = TimmBackbone('vit_tiny_patch16_224', **options)
    encoder.eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        tokens = encoder.model.forward_features(images)
    both = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
    four = encode(_plain(encoder), images, 'dino')
    assert four.shape == (2, 96)
    torch.testing.assert_close(four[:, 72:], tokens[:, 0])
    monkeypatch.setattr('repre_mm.evaluation.features.DINO_WIDE', 24)
    torch.testing.assert_close(encode(_plain(encoder), images, 'dino'), both)


def test_encoders_without_class_tokens():
    images = torch.rand(1, 3, 32, 32)
    with pytest.raises(ValueError, match='has no 4 blocks with class tokens'):
        encode(_plain(_vit()), images, 'dino')  # it has 2
    pyramid = _plain(_vit(with_cls_token=False, out_type='avg_featmap'))
    torch.testing.assert_close(encode(pyramid, images, 'dino'), encode(pyramid, images))
