"""Run a step again that was skipped for its gradients: ``python tools/replay_batch.py FILE CONFIG CHECKPOINT``.

FILE is ``nonfinite/iter_N/rank_R.pth`` in the work dir. With the ``model.pth`` beside it as CHECKPOINT it is that very
step; with a training checkpoint it shows whether the batch breaks that model, too. Says in which module's values, and
in which gradients, the first number appears that is not finite.
"""

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('file', type=Path, help='nonfinite/iter_N/rank_R.pth of a work dir')
    parser.add_argument('config', help='config of the training')
    parser.add_argument('checkpoint', type=Path, help='model.pth beside the file, or a training checkpoint')
    parser.add_argument('--amp', action='store_true', help='the training ran with --amp')
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    return parser.parse_args()


def main() -> None:
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.engine.resilience.nonfinite_trace import replay_step

    args = parse_args()
    with one_line_errors():
        step, trace = replay_step(args.file, args.config, args.checkpoint, amp=args.amp, device=args.device)
    print(f'iteration {step["steps"][-1]["iteration"] + 1}, rank {step["rank"]} of {step["processes"]}')
    images = [name for each in step['steps'] for name in each['batch']['images'] if name != '?']
    if images:
        print(f'images: {", ".join(images)}')
    if step['processes'] > 1:
        print('run by itself: the other processes gave it no embeddings to compare with, and no statistics')
    print(trace)


if __name__ == '__main__':
    main()
