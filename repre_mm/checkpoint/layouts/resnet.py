"""Names of ResNet with the plain stem, alike in mmpretrain, mmdet, mmseg, timm and torchvision."""

from __future__ import annotations

from typing import Any

from repre_mm.checkpoint.layouts.names import Layout, State

LAYOUTS = (Layout('ResNet', 'mmpretrain', ('conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight')),)


def describe(state: State) -> dict[str, Any]:
    """Derive from names and shapes the architecture of a ResNet."""
    blocks = {tuple(name.split('.')[:2]) for name in state if name.startswith('layer')}
    stages = sorted({stage for stage, _ in blocks})
    return {
        'base_channels': state['conv1.weight'].shape[0],
        'blocks': [sum(stage == block[0] for block in blocks) for stage in stages],
        'bottleneck': 'layer1.0.conv3.weight' in state,
    }
