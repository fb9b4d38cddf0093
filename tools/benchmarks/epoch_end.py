"""What an epoch's end and a linear evaluation take at ImageNet's size on 8 GPUs: arithmetic, not run on GPUs.

    python tools/benchmarks/epoch_end.py

Multiply-adds and bytes of a checkpoint are those that ``--check`` counts; the constants below are assumed. It prints
the tables of docs/scale.md; the last line of standard output is a JSON object.
"""

import json
from pathlib import Path

import torch
from mmengine.config import Config
from report import table
from torch.utils.flop_counter import FlopCounterMode

from repre_mm.engine.checks.widths import build_without_memory, fake_tensors
from repre_mm.engine.cost import CPU_ATTENTION, count_cost
from repre_mm.evaluation.features import FrozenEncoder, encode
from repre_mm.evaluation.linear_protocols import PROTOCOLS

ROOT = Path(__file__).resolve().parents[2] / 'configs/pretrain'
CONFIGS = {
    'ViT-S': Config.fromfile(ROOT / 'mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'),
    'ViT-B': Config.fromfile(ROOT / 'mocov3/repre_mocov3_vit-base-p16_32xb128-amp-coslr-300e_in1k.py'),
    'Swin-T': Config.fromfile(ROOT / 'moby/repre_moby_swin-tiny_8xb64-amp-coslr-300e_in1k.py'),
}
TRAIN, VAL, CLASSES, BANK, WORLD = 1_281_167, 50_000, 1000, 100_000, 8
#: Peak FLOP/s of the data sheets (SXM, dense), and the shares of them that are reached.
PEAKS = {'H100': {'bf16': 989e12, 'fp32': 67e12}, 'A100': {'bf16': 312e12, 'fp32': 19.5e12}}
SHARES = {'bf16': 0.2, 'fp32': 0.5}
#: Loading processes per GPU; images per second of each, cropped and augmented; bytes per second of the state's copy.
WORKERS, CROPPED, AUGMENTED, COPY = 12, 170, 290, 150e6


def frozen_cost(name: str, features: str = 'output') -> tuple[float, int]:
    """Multiply-adds of an image through the frozen encoder, and the width of its vector."""
    model, counter = build_without_memory(CONFIGS[name]), FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with fake_tensors(model), counter:
        frozen = FrozenEncoder(model.backbone, [0.0] * 3, [1.0] * 3, 224)
        width = encode(frozen, torch.empty(1, 3, 224, 224), features).shape[1]
    return counter.get_total_flops() / 2, width


def seconds(macs: float, gpu: str, kind: str) -> float:
    return 2 * macs / (WORLD * PEAKS[gpu][kind] * SHARES[kind])


def epoch_end(name: str) -> list[dict]:
    """Seconds between the last step of an epoch and the next one, by part; minutes of the epoch's own computing."""
    cost, (macs, width) = count_cost(CONFIGS[name]), frozen_cost(name)
    rows = [{'encoder': name, 'GPU': gpu} for gpu in PEAKS]
    for row in rows:
        row['epoch, min'] = seconds(cost.step_macs * TRAIN, row['GPU'], 'bf16') / 60
        row['load, s'] = (BANK + VAL) / (WORLD * WORKERS * CROPPED)
        row['encode, s'] = seconds(macs * (BANK + VAL), row['GPU'], 'bf16')
        row['compare, s'] = seconds(width * BANK * VAL, row['GPU'], 'fp32')
        row['copy, s'] = (cost.weight_bytes + cost.state_bytes) / COPY
        row['in all, s'] = sum(list(row.values())[3:])
    return rows


def linear(name: str, protocol: str) -> dict:
    """Hours of a linear evaluation: computing on each GPU in each precision, and loading."""
    recipe = PROTOCOLS[protocol]
    macs, width = frozen_cost(name, recipe.features)
    heads = len(recipe.lrs) * width * CLASSES  # once forward, in training once more for the gradient of the weights
    macs = recipe.epochs * ((macs + 2 * heads) * TRAIN + (macs + heads) * VAL)
    hours = {f'{gpu} {kind}, h': seconds(macs, gpu, kind) / 3600 for gpu in PEAKS for kind in SHARES}
    loading = recipe.epochs * (TRAIN / AUGMENTED + VAL / CROPPED) / (WORLD * WORKERS) / 3600
    return {'protocol': protocol, 'encoder': name, 'EFLOP': 2 * macs / 1e18, **hours, 'loading, h': loading}


ends = [row for name in CONFIGS for row in epoch_end(name)]
for rows in (ends, [linear(name, protocol) for protocol in PROTOCOLS for name in CONFIGS]):
    shown = [[f'{value:.3g}' if isinstance(value, float) else value for value in row.values()] for row in rows]
    print('\n'.join(table(list(rows[0]), shown)), end='\n\n')
print(json.dumps({'longest wait, s': max(row['in all, s'] for row in ends)}))
