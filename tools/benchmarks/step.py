"""What each switch of a training step gains: RePre + MoCo v3 with ViT-S/16 at 224, on random pixels.

    python tools/benchmarks/step.py [--batch 8] [--rounds 5] [--device cuda] [--out docs/benchmarks/NAME]

Each row compares two runs that differ in one switch, in processes that take turns. What does not pay, and so is not
built or off, is measured too. The last line of standard output is a JSON object with the factors.
"""

import argparse
import json
import statistics
from pathlib import Path

from report import command_line, describe, machine, publish, spread, table
from timed_model import TimedModel
from turns import Contestant, Desk, in_turn

ROOT = Path(__file__).resolve().parents[2]
VIT = 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'
SWIN = 'configs/pretrain/mocov3/repre_mocov3_swin-tiny_32xb128-amp-coslr-300e_in1k.py'


def switch_rows(device: str) -> dict[str, tuple[str, dict, dict]]:
    """Name -> (state, slower side, faster side); what a side does not say is as shipped, in bf16."""
    rows = {
        'bf16 autocast': ('on', {'precision': 'fp32'}, {}),
        'fused AdamW': ('on', {'fused': None}, {}),
        'moving average of all tensors at once': ('on', {'ema': False}, {}),
        'fused attention, fp32': ('on', {'precision': 'fp32', 'trick': 'plain_attention'}, {'precision': 'fp32'}),
        'maps of the decoder channels-last': ('on', {'trick': 'channels_first'}, {}),
        'compiled blocks': ('off', {}, {'compile': True}),
        'gradient checkpointing': ('off', {}, {'checkpoint': True}),
        'both views in one encoder pass': ('not built', {}, {'trick': 'joined_views'}),
        "Swin's windows by fused attention": (
            'not built',
            {'config': SWIN},
            {'config': SWIN, 'trick': 'fused_windows'},
        ),
    }
    if device == 'cpu':
        rows |= {
            'attention as products, bf16': ('on', {'attention': False}, {}),
            'freed memory is kept': ('on', {'memory': False}, {}),
        }
    return rows


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure what each switch gains.')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=5, help='how often each side has its turn')
    parser.add_argument('--rows', nargs='+', metavar='WORD', help='only rows with one of these words in their names')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--out', type=Path, help='path of the .md and .json, without suffix')
    parser.add_argument('--serve', type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


# What is no switch of the package, because it does not pay or because it is always so.


def plain_attention(model) -> None:
    """mmpretrain's ViTs without torch's fused attention."""
    from mmpretrain.models.utils.attention import MultiheadAttention, scaled_dot_product_attention_pyimpl

    for module in model.modules():
        if isinstance(module, MultiheadAttention):
            module.scaled_dot_product_attention = scaled_dot_product_attention_pyimpl


def channels_first(model) -> None:
    """Lay the tapped maps out anew before the decoder; they come as tokens, channels last."""
    model.repre_neck.register_forward_pre_hook(lambda module, args: ([level.contiguous() for level in args[0]],))


def joined_views(model) -> None:
    """MoCo v3 with both views in one batch of the encoder; its necks, which hold BatchNorm, see one at a time."""
    import torch

    algorithm = model.algorithm

    def loss(inputs, data_samples, **kwargs) -> dict:
        batch = torch.cat(inputs)

        def encode(backbone, neck) -> list:
            return [neck((half,))[0] for half in backbone(batch)[0].chunk(2)]

        queries = encode(algorithm.backbone, algorithm.neck)
        with torch.no_grad():
            algorithm.momentum_encoder.update_parameters(torch.nn.Sequential(algorithm.backbone, algorithm.neck))
            keys = encode(*algorithm.momentum_encoder.module)
        return {'loss': algorithm.head.loss(queries[0], keys[1]) + algorithm.head.loss(queries[1], keys[0])}

    algorithm.loss = loss


def fused_windows(model) -> None:
    """Swin's windows through torch's attention, with position bias and mask as its additive mask."""
    import torch.nn.functional as F
    from mmpretrain.models.utils.attention import WindowMSA

    def forward(self, x, mask=None):
        rows, tokens, channels = x.shape
        windows = 1 if mask is None else len(mask)
        split = (rows // windows, windows, tokens, 3, self.num_heads, channels // self.num_heads)
        # (3, images, windows * heads, tokens, channels of a head)
        query, key, value = self.qkv(x).reshape(split).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(tokens, tokens, -1).permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).flatten(0, 1)[None]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=self.scale)
        out = out.reshape(rows, self.num_heads, tokens, -1).transpose(1, 2).reshape(rows, tokens, channels)
        return self.proj_drop(self.proj(out))

    for module in model.modules():
        if isinstance(module, WindowMSA):
            module.forward = forward.__get__(module)


TRICKS = {f.__name__: f for f in (plain_attention, channels_first, joined_views, fused_windows)}


def serve(settings: dict) -> None:
    desk = Desk()
    trick = settings.pop('trick', None)
    timed = TimedModel(**settings)
    if trick:
        TRICKS[trick](timed.model)
    timed.serve(desk)


def start(side: dict, args: argparse.Namespace) -> Contestant:
    """The process of one side."""
    side = dict(side)
    settings = {'config': str(ROOT / side.pop('config', VIT)), 'precision': side.pop('precision', 'bf16')}
    if 'trick' in side:
        settings['trick'] = side.pop('trick')
    settings |= {'batch': args.batch, 'device': args.device, 'switches': side}
    return Contestant(__file__, settings, wait=False)


def compare(sides: tuple[dict, dict], args: argparse.Namespace, tick) -> dict:
    """Seconds per step and peak memory of both sides."""
    both = {name: start(side, args) for name, side in zip(('slow', 'fast'), sides, strict=True)}
    gib = {name: process.ask(memory=args.batch)['gib'] for name, process in both.items()}
    tick(2)
    answers = in_turn(both, args.rounds, tick, steps=1)
    for process in both.values():
        process.end()
    seconds = {name: [answer['seconds'] for answer in values] for name, values in answers.items()}
    factors = [slow / fast for slow, fast in zip(seconds['slow'], seconds['fast'], strict=True)]
    return {'seconds': seconds, 'gib': gib, 'factors': factors}


def main() -> None:
    args = parse_args()
    if args.serve:
        serve(args.serve)
    from tqdm import tqdm

    rows = switch_rows(args.device)
    if args.rows:
        rows = {name: row for name, row in rows.items() if any(word.lower() in name.lower() for word in args.rows)}
    if not rows:
        raise SystemExit(
            f'error: no row has {" or ".join(args.rows)} in its name: {", ".join(switch_rows(args.device))}'
        )
    env = machine(args.device)
    results = {}
    with tqdm(total=len(rows) * (2 * args.rounds + 2), smoothing=0.05) as bar:
        for name, (_, *sides) in rows.items():
            bar.set_description(name)
            results[name] = compare(sides, args, bar.update)
            bar.write(f'{name}: {spread(results[name]["factors"], 2)}')
    cells = []
    for name, result in results.items():
        slow, fast = (statistics.median(result['seconds'][side]) for side in ('slow', 'fast'))
        memory = result['gib']['fast'] / result['gib']['slow']
        cells.append([name, rows[name][0], f'{slow:.3f}', f'{fast:.3f}', spread(result['factors'], 2), f'{memory:.2f}'])
    lines = [
        '# What each switch of a training step gains',
        '',
        command_line(),
        '',
        describe(env),
        '',
        f'Steps of {args.batch} images of RePre + MoCo v3 (ViT-S/16 at 224; Swin-T where it is named) on '
        f'{args.device}, in bf16 unless stated; median of {args.rounds} rounds in which both sides take '
        'turns, in brackets least and most. A factor above 1 is a gain; memory is the peak '
        'with the switch over the peak without.',
        '',
        *table(['switch', 'by default', 'without (s)', 'with (s)', 'factor', 'memory'], cells),
        '',
    ]
    factors = {name: round(statistics.median(result['factors']), 3) for name, result in results.items()}
    publish(args.out, '\n'.join(lines), {'machine': env, 'rows': results}, factors)


if __name__ == '__main__':
    main()
