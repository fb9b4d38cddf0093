"""Find the patches nearest to a given one, by encoders and their projectors.

python tools/patch_retrieval.py ENCODER --data DIR --query IMAGE --box X Y W H [--out PNG]
python tools/patch_retrieval.py --encoders NAME=ENCODER NAME=ENCODER ... --data DIR --query IMAGE --box X Y W H

ENCODER is CONFIG CHECKPOINT, CONFIG random, a released FILE or timm:MODEL[,OPTION=VALUE...][:FILE]; after NAME= it is
one word, CONFIG:CHECKPOINT. Patches of the query's size are cut from every image of the data, in steps of half a
patch, and encoded one by one, as views are in training. The mean of the patch tokens is compared on the left, the
projector's output, where the file has one, on the right. By the part-to-whole reading of contrastive learning
(arXiv 2301.11915), the encoder finds the same part and the projector the same object.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_decoding_arguments, add_encoder_options
    from repre_mm.studies.parts.representations import REPRESENTATIONS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('encoder_words', nargs='*', metavar='ENCODER', help='one encoder, see above')
    parser.add_argument('--encoders', nargs='+', metavar='NAME=ENCODER', help='several, one below the other')
    parser.add_argument('--data', required=True, metavar='DATA', help='images to search: a folder, a list, shards')
    add_decoding_arguments(parser)
    parser.add_argument('--query', required=True, metavar='IMAGE', help='the image of the query, a file or one of DATA')
    parser.add_argument('--box', required=True, nargs=4, type=int, metavar=('X', 'Y', 'W', 'H'), help='in pixels')
    parser.add_argument('--top', type=int, default=24, help='patches to find (default: %(default)s)')
    parser.add_argument(
        '--show',
        nargs='+',
        choices=REPRESENTATIONS,
        default=['encoded', 'projected'],
        help='representations to compare by (default: %(default)s)',
    )
    parser.add_argument('--stride', type=float, default=0.5, help='between patches, in patches (default: %(default)s)')
    parser.add_argument('--size', type=int, help="of the encoder's input (default: its own)")
    parser.add_argument('--batch-size', type=int, default=128, help='patches per forward pass (default: %(default)s)')
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of random weights (default: %(default)s)')
    add_encoder_options(parser)
    parser.add_argument('--out', type=Path, default=Path('patch_retrieval.png'), help='default: %(default)s')
    args = parser.parse_args()
    if bool(args.encoder_words) == bool(args.encoders):
        parser.error('name one encoder (ENCODER), or several (--encoders NAME=ENCODER ...)')
    return args


def draw(args: argparse.Namespace):
    from repre_mm.datasets import open_images
    from repre_mm.evaluation import EncoderName, load_frozen_encoder
    from repre_mm.studies.parts.encoders import parse_encoders
    from repre_mm.studies.parts.representations import find_projector
    from repre_mm.studies.parts.retrieval import retrieve
    from repre_mm.studies.parts.retrieval_sheet import retrieval_sheet

    names = parse_encoders(args.encoders) if args.encoders else {'': EncoderName.parse(args.encoder_words)}
    source = {'prefix': args.prefix, 'network': args.network, 'trust': args.trust, 'seed': args.seed}
    loaded = {
        name: (
            load_frozen_encoder(encoder, size=args.size, device=args.device, **source),
            find_projector(encoder, **source),
        )
        for name, encoder in names.items()
    }
    decoding = args.decoding
    images = open_images(args.data, **decoding)
    query = args.query, dict(images).get(args.query) or open_images(args.query, **decoding)[0][1]
    options = {'top': args.top, 'stride': args.stride, 'batch_size': args.batch_size}
    hits = {}
    for name, (encoder, projector) in loaded.items():
        projector = projector and projector.to(args.device)
        found = retrieve(encoder, projector, query, tuple(args.box), images, **options)
        hits[name] = {kind: found[kind] for kind in args.show if kind in found}
        for kind, one in hits[name].items():
            print(f'\n{f"{name}, " if name else ""}{kind}: cosine, image, left top width height')
            for hit in one:
                print(f'{hit.similarity:8.4f}  {hit.path}  {" ".join(map(str, hit.box))}')
    return retrieval_sheet(query[1](), tuple(args.box), hits)


def main() -> None:
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.visualization import save_png

    args = parse_args()
    with one_line_errors():
        picture = draw(args)
    save_png(picture, args.out)
    print(f'\n{args.out}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
