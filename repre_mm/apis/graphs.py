"""Export of an encoder as a graph that runs without this package: ONNX, or a program of torch.export."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmpretrain.models.utils import ShiftWindowMSA
from torch import Tensor, nn

from repre_mm.models.taps import pooled
from repre_mm.utils.atomic import write_atomically
from repre_mm.utils.errors import UserError

#: Target of an export -> the ending of its file.
GRAPHS = {'onnx': '.onnx', 'torch-export': '.pt2'}
_TOLERANCE = 1e-4


class _Vectors(nn.Module):
    """Normalised images (B, 3, H, W) -> vectors (B, C)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return pooled(self.backbone(images))


def export_graph(backbone: nn.Module, out: Path, to: str, size: int) -> float:
    """Write a graph with input ``images`` (B, 3, size, size), normalised, and output ``vectors`` (B, C), for any B.

    It is read back and compared before it takes its place.

    Args:
        backbone: The encoder, on any device.
        out: ``.onnx`` or ``.pt2``.
        to: One of :data:`GRAPHS`.
        size: Side of the images in pixels.

    Returns:
        The largest difference from the encoder, over batches of 1 and 3 random images.

    Raises:
        UserError: ``out`` has another ending or no folder, a package is missing, the encoder cannot be traced, or the
            graph computes something else.
    """
    if out.suffix != GRAPHS[to] or not out.parent.is_dir():
        raise UserError(f'cannot write {out}: --to {to} writes NAME{GRAPHS[to]} into a folder that exists')
    device = next(backbone.parameters()).device
    model = _Vectors(backbone).cpu()
    model.eval()
    try:
        graph = _graph(model, to, size)
        difference = max(_difference(model, graph, to, torch.randn(batch, 3, size, size)) for batch in (1, 3))
    except ModuleNotFoundError as error:
        raise UserError(f"--to {to} needs {error.name}: pip install 'repre_mm[onnx]'") from error
    finally:
        backbone.to(device)
    if not difference < _TOLERANCE:
        raise UserError(f'cannot write {out}: the graph differs from the encoder by {difference:.2g}')
    write_atomically(out, lambda draft: draft.write_bytes(graph))
    return difference


@contextmanager
def _any_batch() -> Iterator[None]:
    """Let mmpretrain's Swin join its windows without a Python int of the batch, which would fix its size."""

    def window_reverse(windows: Tensor, height: int, width: int, side: int) -> Tensor:
        # (B * h/s * w/s, s, s, C) -> (B, h, w, C)
        maps = windows.view(-1, height // side, width // side, side, side, windows.shape[-1])
        return maps.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])

    theirs = ShiftWindowMSA.window_reverse
    ShiftWindowMSA.window_reverse = staticmethod(window_reverse)
    try:
        yield
    finally:
        ShiftWindowMSA.window_reverse = staticmethod(theirs)


def _graph(model: nn.Module, to: str, size: int) -> bytes:
    images = torch.randn(2, 3, size, size)
    try:
        with torch.no_grad(), _any_batch():
            program = torch.export.export(model, (images,), dynamic_shapes={'images': {0: torch.export.Dim('batch')}})
    except Exception as error:  # torch.export raises errors of many classes
        cause = f'{type(error).__name__}: {str(error).strip().splitlines()[0]}'
        raise UserError(f'{type(model.backbone).__name__} cannot be traced by torch.export: {cause}') from error
    if to == 'onnx':
        names = {'input_names': ['images'], 'output_names': ['vectors']}
        return torch.onnx.export(program, (), dynamo=True, verbose=False, **names).model_proto.SerializeToString()
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


@torch.no_grad()
def _difference(model: nn.Module, graph: bytes, to: str, images: Tensor) -> float:
    if to == 'onnx':
        import onnxruntime

        session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])
        (vectors,) = session.run(['vectors'], {'images': images.numpy()})
    else:
        vectors = torch.export.load(io.BytesIO(graph)).module()(images).numpy()
    return float(np.abs(vectors - model(images).numpy()).max())
