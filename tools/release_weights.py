"""Write what is published of a run: ``python tools/release_weights.py CHECKPOINT weights/NAME.safetensors``.

The encoder and what reconstructs, without projectors, optimizer and log. NAME is that of the config. The checksum that
it prints belongs into the config's metafile, with the scores; the card beside the file says what they were measured on.
"""

import argparse
import hashlib
import json
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Write what is published of a run, as safetensors.')
    parser.add_argument('checkpoint', type=Path, help='of a training of this project')
    parser.add_argument('out', type=Path, help='NAME.safetensors, after the config')
    return parser.parse_args()


def main() -> None:
    from safetensors.torch import save

    from repre_mm.checkpoint import read_checkpoint
    from repre_mm.checkpoint.provenance import provenance
    from repre_mm.checkpoint.reading import SAFETENSORS_META
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.evaluation.pretraining import RECONSTRUCTS
    from repre_mm.utils.atomic import write_atomically
    from repre_mm.utils.errors import UserError

    args = parse_args()
    with one_line_errors('writing'):
        checkpoint = read_checkpoint(args.checkpoint)
        state = {name: value for name, value in checkpoint['state_dict'].items() if name.startswith(RECONSTRUCTS)}
        if args.out.suffix != '.safetensors' or not state:
            raise UserError(f'{args.checkpoint} -> {args.out}: a training checkpoint -> NAME.safetensors')
        known = {name: value for name, value in provenance(checkpoint).items() if name != 'experiment'}
        data = save(state, {'format': 'pt', SAFETENSORS_META: json.dumps({**known, 'config': args.out.stem})})
        write_atomically(args.out, lambda draft: draft.write_bytes(data))
    numbers = sum(value.numel() for value in state.values())
    print(f'{args.out}: {len(data) / 2**20:.1f} MiB, {numbers:,} numbers, SHA256: {hashlib.sha256(data).hexdigest()}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
