"""What a step sends over the network and keeps in memory on 8, 64 and 512 GPUs: counted, not timed.

    python tools/benchmarks/scale.py [--world 8 64 512] [--global-batch 4096] [--out docs/benchmarks/NAME]

The collectives of one training step are listed by running the model on the CPU in a group of processes that exist by
name only (torch's "fake" backend), with DDP's rules and split parameters, at two small batch sizes: what grows between
them grows with the batch. Seconds come from the bandwidth, the latency and the share of peak on the command line,
which are assumptions. ``--out`` gets a ``.md`` and a ``.json``. The last line of standard output is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from repre_mm.datasets import view_sizes
from repre_mm.distributed import FullyShardedDataParallel
from repre_mm.distributed.sync_batchnorm import sync_batchnorm_on_cpu
from repre_mm.engine.cost import count_cost
from repre_mm.engine.hooks.momentum import take_over_averages
from repre_mm.models.build import build_model
from repre_mm.models.selfsup import DINO, CosineEMA
from repre_mm.utils.stack import stack_versions

ROOT = Path(__file__).resolve().parents[2] / 'configs/pretrain'
COUNTED_WORLD = 8
MOCOV3_BASE = 'mocov3/repre_mocov3_vit-base-p16_32xb128-amp-coslr-300e_in1k.py'
#: Name in the tables -> config and another size of encoder, if any.
SHOWN = {
    'MoCo v3, ViT-S': ('mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py', None),
    'MoCo v3, ViT-B': (MOCOV3_BASE, None),
    'MoCo v3, ViT-L': (MOCOV3_BASE, 'large'),
    'MoBY, Swin-T': ('moby/repre_moby_swin-tiny*', None),
    'DINO, ViT-S': ('dino/repre_dino_vit-small*', None),
}


class Collectives(TorchDispatchMode):
    """Bytes of each kind of collective as this process holds them (whole result or whole input), and their number."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = {'all-reduce': 0, 'all-gather': 0, 'reduce-scatter': 0}
        self.calls = dict.fromkeys(self.bytes, 0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        namespace, name = func._schema.name.split('::')
        kinds = {'allreduce': 'all-reduce', 'allgather': 'all-gather', 'reduce_scatter': 'reduce-scatter'}
        kind = next((kinds[key] for key in kinds if key in name.replace('all_', 'all')), None)
        if namespace in ('c10d', '_c10d_functional') and kind:
            # The results come first, but for reduce-scatter's: there the input is what is whole.
            whole = args[1] if kind == 'reduce-scatter' and namespace == 'c10d' else args[0]
            size = sum(t.numel() * t.element_size() for t in tree_leaves(whole) if isinstance(t, torch.Tensor))
            scale = COUNTED_WORLD if kind == 'all-gather' and namespace == '_c10d_functional' else 1
            self.bytes[kind] += size * scale
            self.calls[kind] += 1
        return func(*args, **(kwargs or {}))


@dataclass
class Step:
    """What one step of a model needs, per process; bytes of collectives as in :class:`Collectives`."""

    trained: int  # parameters that are trained
    target: int  # parameters of the moving average
    kept: int  # bytes of queues, centres, running statistics
    macs: float  # multiply-adds per image
    small_calls: int  # all-reduces of statistics and centres, and their bytes
    small_bytes: int
    embedding_calls: int  # gathers of embeddings, and their bytes for each image of a process
    embedding_bytes: float
    split_gathered: int  # bytes gathered and reduced with split parameters
    split_reduced: int
    split_calls: int


def load(config: Path, arch: str | None) -> Config:
    """A config, with a ViT-L if ``arch`` is 'large'."""
    cfg = Config.fromfile(config)
    if arch:
        cfg.model.algorithm.backbone.arch = arch
        cfg.model.algorithm.neck.in_channels = 1024
    return cfg


def build(cfg: Config) -> nn.Module:
    """A config's model as training has it."""
    model = build_model(cfg)
    take_over_averages(model)
    sync_batchnorm_on_cpu(model)
    for module in model.modules():
        if isinstance(module, CosineEMA):
            module.max_steps = 10
        if isinstance(module, DINO):
            module.epoch = 0
    return model.train()


def collectives(cfg: Config, model: nn.Module, batch: int) -> Collectives:
    """Those of a forward and a backward with ``batch`` images on this process."""
    sizes = view_sizes(cfg.train_dataloader.dataset.pipeline)
    with Collectives() as seen:
        losses = model([torch.randn(batch, 3, size, size) for size in sizes], None, mode='loss')
        losses['loss'].backward()
    for module in model.modules():
        if isinstance(module, CosineEMA):
            module.step()
    return seen


def count(config: Path, arch: str | None) -> Step:
    """One step, in a group of eight of which the others do not exist."""
    cfg = load(config, arch)
    macs = count_cost(cfg).step_macs
    dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=COUNTED_WORLD)
    model = build(cfg)
    few, more = (collectives(cfg, model, batch) for batch in (2, 3))
    averages = [module for module in model.modules() if isinstance(module, CosineEMA)]
    numbers = dict(
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        target=sum(p.numel() for average in averages for p in average.parameters()),
        kept=sum(b.numel() * b.element_size() for b in model.buffers()),
    )
    split = collectives(cfg, FullyShardedDataParallel(model), 2)
    dist.destroy_process_group()
    return Step(
        **numbers,
        macs=macs,
        small_calls=few.calls['all-reduce'],
        small_bytes=few.bytes['all-reduce'],
        embedding_calls=few.calls['all-gather'],
        embedding_bytes=(more.bytes['all-gather'] - few.bytes['all-gather']) / COUNTED_WORLD,
        split_gathered=split.bytes['all-gather'] - few.bytes['all-gather'],
        split_reduced=split.bytes['reduce-scatter'],
        split_calls=split.calls['all-gather'] - few.calls['all-gather'] + split.calls['reduce-scatter'],
    )


def project(step: Step, world: int, args: argparse.Namespace) -> dict:
    """Megabytes that a GPU sends, gibibytes that it keeps, and milliseconds, on ``world`` GPUs."""
    batch, passing = args.global_batch / world, (world - 1) / world
    bandwidth = (args.nvlink if world <= 8 else args.network) * 1e9
    sent = {
        'gradients': 2 * passing * 4 * step.trained,
        'statistics': 2 * passing * step.small_bytes,
        'embeddings': passing * step.embedding_bytes * batch * world,
    }
    split = passing * (step.split_gathered + step.split_reduced) + sent['statistics'] + sent['embeddings']
    whole = 4 * (step.trained + step.target) + 12 * step.trained
    compute = 2 * step.macs * batch / (args.peak * 1e12 * args.utilisation)
    small = (step.small_calls + step.embedding_calls) * args.latency * 1e-6
    return {
        'world': world,
        'images per GPU': batch,
        **{f'{name} MB': size / 1e6 for name, size in sent.items()},
        'split MB': split / 1e6,
        'state GiB': (whole + step.kept) / 2**30,
        'split state GiB': (whole / world + step.kept) / 2**30,
        'compute ms': compute * 1e3,
        'DDP network ms': (sum(sent.values()) / bandwidth + small) * 1e3,
        'split network ms': (split / bandwidth + small + step.split_calls * args.latency * 1e-6) * 1e3,
    }


def table(rows: list[dict], columns: list[str]) -> list[str]:
    """Rows as Markdown."""
    shown = [[f'{row[c]:.3g}' if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows]
    lines = [columns, ['---'] * len(columns), *shown]
    return ['| ' + ' | '.join(line) + ' |' for line in lines]


def report(counted: dict[str, Step], rows: list[dict], args: argparse.Namespace) -> str:
    """The page."""
    counts = [
        {
            'model': name,
            'trained (M)': step.trained / 1e6,
            'target (M)': step.target / 1e6,
            'kept (MB)': step.kept / 1e6,
            'GMACs per image': step.macs / 1e9,
            'small all-reduces': step.small_calls,
            'their kB': step.small_bytes / 1e3,
            'gathers': step.embedding_calls,
            'their B per image': step.embedding_bytes,
            'split: gathered (MB)': step.split_gathered / 1e6,
            'split: reduced (MB)': step.split_reduced / 1e6,
            'split: calls': step.split_calls,
        }
        for name, step in counted.items()
    ]
    assumptions = (
        f'global batch {args.global_batch}; {args.nvlink:g} GB/s per GPU within a machine of 8, {args.network:g} GB/s '
        f'between machines; {args.latency:g} us per collective; {args.utilisation:.0%} of {args.peak:g} TFLOP/s'
    )
    return '\n'.join(
        [
            '# A step on many GPUs: network and memory',
            '',
            '`python tools/benchmarks/scale.py`. **Counted on a CPU and computed, not timed on GPUs.**',
            '',
            '## Counted, per process',
            '',
            *table(counts, list(counts[0])),
            '',
            "Small all-reduces: statistics of SyncBatchNorm (forward and backward) and DINO's centre. Gathers: "
            'embeddings of the keys. Kept: queues, centre, running statistics; every process has all of them. Split: '
            'parameters split by `repre_mm.FullyShardedDataParallel`; each pass of an encoder gathers its blocks, '
            'each backward pass again.',
            '',
            '## Computed',
            '',
            f'Assumed: {assumptions}. With N processes, P trained parameters, T of the target, fp32:',
            '',
            '- gradients, DDP: 2 (N - 1) / N x 4 P bytes sent (ring)',
            '- statistics: 2 (N - 1) / N x their bytes; embeddings: (N - 1) / N x bytes per image x images of all',
            '- split: (N - 1) / N x (gathered + reduced), in the place of the gradients',
            '- state: 4 (P + T) for weights, 4 P for gradients, 8 P for AdamW; split: a N-th, and what is kept',
            '- compute: 2 x multiply-adds x images / (peak x share); network: bytes / bandwidth + calls x latency, as '
            'if nothing overlapped. Gradients overlap with the backward; statistics and embeddings cannot.',
            '',
            *table(rows, list(rows[0])),
            '',
            'Versions: ' + ', '.join(f'{name} {version}' for name, version in stack_versions().items()) + '.',
            '',
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description='Count what a step sends and keeps on many GPUs.')
    parser.add_argument('--world', type=int, nargs='+', default=[8, 64, 512], help='numbers of GPUs')
    parser.add_argument('--global-batch', type=int, default=4096, help='images per step, all GPUs together')
    parser.add_argument('--nvlink', type=float, default=300, help='GB/s per GPU within a machine of 8')
    parser.add_argument('--network', type=float, default=40, help='GB/s per GPU between machines')
    parser.add_argument('--latency', type=float, default=30, help='microseconds per collective')
    parser.add_argument('--peak', type=float, default=989, help='TFLOP/s of a GPU (H100, bf16)')
    parser.add_argument('--utilisation', type=float, default=0.2, help='share of the peak that training reaches')
    parser.add_argument('--out', type=Path, help='path of the .md and .json, without suffix')
    args = parser.parse_args()
    MMLogger.get_instance('scale', log_level=logging.ERROR)
    MessageHub.get_instance('scale').update_info('max_iters', 10)
    counted, rows = {}, []
    for index, (name, (pattern, arch)) in enumerate(SHOWN.items(), 1):
        print(f'[{index}/{len(SHOWN)}] {name}', flush=True)
        counted[name] = count(sorted(ROOT.glob(pattern))[0], arch)
        rows += [{'model': name, **project(counted[name], world, args)} for world in args.world]
    page = report(counted, rows, args)
    print(page)
    result = {'counted': {name: asdict(step) for name, step in counted.items()}, 'computed': rows}
    if args.out:
        args.out.with_suffix('.md').write_text(page)
        args.out.with_suffix('.json').write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps({row['model'] + f' x{row["world"]}': round(row['DDP network ms'], 2) for row in rows}))


if __name__ == '__main__':
    main()
