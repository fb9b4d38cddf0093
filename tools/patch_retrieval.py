"""Find the patches that an encoder, and its projector, take for the same as a given one.

python tools/patch_retrieval.py CONFIG CHECKPOINT --data DIR --query IMAGE --box X Y W H [--out PNG]

Patches of the query's size are cut from every image of the folder, in steps of half a patch, and encoded one by one, as
views are in training: the encoder's vector is compared on the left, the projector's output on the right. By the
part-to-whole reading of contrastive learning, the encoder finds the same part and the projector the same object.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config that the encoder was pre-trained with')
    parser.add_argument('checkpoint', help="a training checkpoint, or the word 'random'")
    parser.add_argument('--data', required=True, metavar='DIR', help='folder of images to search, at any depth')
    parser.add_argument('--query', required=True, metavar='IMAGE', help='the image of the query')
    parser.add_argument('--box', required=True, nargs=4, type=int, metavar=('X', 'Y', 'W', 'H'), help='in pixels')
    parser.add_argument('--top', type=int, default=24, help='patches to find (default: %(default)s)')
    parser.add_argument('--stride', type=float, default=0.5, help='between patches, in patches (default: %(default)s)')
    parser.add_argument('--size', type=int, help="of the encoder's input (default: the config's image_size)")
    parser.add_argument('--batch-size', type=int, default=128, help='patches per forward pass (default: %(default)s)')
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of random weights (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('patch_retrieval.png'), help='default: %(default)s')
    return parser.parse_args()


def draw(args: argparse.Namespace):
    from mmengine.config import Config

    from repre_mm.datasets.listing import find_images
    from repre_mm.studies import parts

    encoder = parts.load_named_encoder(args.config, args.checkpoint, size=args.size, device=args.device, seed=args.seed)
    projector = parts.load_projector(Config.fromfile(args.config), args.checkpoint, seed=args.seed).to(args.device)
    paths = [Path(args.data, name) for name in find_images(args.data)]
    options = {'top': args.top, 'stride': args.stride, 'batch_size': args.batch_size}
    hits = parts.retrieve(encoder, projector, args.query, tuple(args.box), paths, **options)
    for name, found in hits.items():
        print(f'\n{name}: cosine, image, left top width height')
        for hit in found:
            print(f'{hit.similarity:8.4f}  {hit.path}  {" ".join(map(str, hit.box))}')
    return parts.retrieval_sheet(args.query, tuple(args.box), hits)


def main() -> None:
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.visualization import save_png

    args = parse_args()
    with one_line_errors():
        picture = draw(args)
    save_png(picture, args.out)
    print(f'\n{args.out}')


if __name__ == '__main__':
    main()
