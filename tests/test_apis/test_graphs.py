"""Encoders as graphs: ONNX and torch.export give the encoder's vectors, for batches of any size."""

import numpy as np
import pytest
import torch
from fixtures.encoders import filled, mm_swin, mm_vit
from torch import nn

from repre_mm.apis.graphs import export_graph
from repre_mm.models.backbones import TimmBackbone
from repre_mm.models.taps import pooled
from repre_mm.utils.errors import UserError

ENCODERS = {
    'mmpretrain ViT': (lambda: filled(mm_vit(32, out_type='cls_token')), 32),
    'mmpretrain Swin': (lambda: filled(mm_swin()), 64),
    'timm ViT': (lambda: TimmBackbone('vit_tiny_patch16_224', img_size=32, depth=2), 32),
}


@pytest.mark.parametrize('name', ENCODERS)
def test_program_of_torch_export_gives_the_same_vectors(name, tmp_path):
    build, size = ENCODERS[name]
    encoder = build()
    encoder.eval()  # mmpretrain's return nothing
    assert export_graph(encoder, tmp_path / 'e.pt2', 'torch-export', size) < 1e-5
    images = torch.randn(4, 3, size, size)
    with torch.no_grad():
        expected = pooled(encoder(images))
        torch.testing.assert_close(torch.export.load(tmp_path / 'e.pt2').module()(images), expected)


@pytest.mark.parametrize('name', ENCODERS)
def test_onnx_runtime_gives_the_same_vectors(name, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    build, size = ENCODERS[name]
    encoder = build()
    encoder.eval()  # mmpretrain's return nothing
    export_graph(encoder, tmp_path / 'e.onnx', 'onnx', size)
    images = torch.randn(4, 3, size, size)
    (vectors,) = onnxruntime.InferenceSession(tmp_path / 'e.onnx').run(['vectors'], {'images': images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(vectors, pooled(encoder(images)).numpy(), atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ['e.onnx']


def test_what_cannot_be_written_is_named(tmp_path):
    encoder = TimmBackbone('vit_tiny_patch16_224', img_size=32, depth=1)
    with pytest.raises(UserError, match=r'NAME\.pt2'):
        export_graph(encoder, tmp_path / 'e.onnx', 'torch-export', 32)

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, images):
            return (self.layer(images.mean((2, 3))) if images.sum() > 0 else images.mean((2, 3)),)

    with pytest.raises(UserError, match=r'Branches cannot be traced by torch\.export'):
        export_graph(Branches(), tmp_path / 'e.pt2', 'torch-export', 32)
    assert not list(tmp_path.iterdir())
