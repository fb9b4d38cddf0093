"""Draw what an encoder sees: ``python tools/visualize.py WHAT ENCODER [--data DIR] [--out FILE]``.

WHAT is one of
  reconstruction  inputs, reconstructions and errors (of a RePre checkpoint)
  attention       where the encoder looks: class-token attention, or similarity to the pooled vector
  components      patch tokens by their first three principal components, as colours
  embedding       t-SNE of the vectors of some classes; of images without classes, coloured by k-means clusters
  retrieval       the nearest images of some queries
  curves          training curves: WHAT is followed by work dirs instead, `visualize.py curves WORK_DIR...`

ENCODER is CONFIG CHECKPOINT, CONFIG random, timm:MODEL[,OPTION=VALUE...][:FILE], a released FILE that tells its model,
the work dir of a run, or the NAME of a config whose weights are at hand. `--compare ENCODER`, once or more, sets others
beside it. The picture goes to `pictures/WHAT.png` beside the checkpoint, where tools/report.py finds it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from repre_mm.utils.errors import UserError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    from repre_mm.cli.arguments import add_decoding_arguments
    from repre_mm.cli.evaluation import add_encoder_argument

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='what', required=True, metavar='WHAT')

    def command(name: str, text: str, images: int | None) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        add_encoder_argument(sub)
        sub.add_argument('--data', metavar='DIR', help="images (default: the config's data_root)")
        add_decoding_arguments(sub)
        sub.add_argument('--size', type=int, help="side of the crops in pixels (default: the config's image_size)")
        if images:
            sub.add_argument('--num-images', type=int, default=images, help='random ones (default: %(default)s)')
        sub.add_argument('--seed', type=int, default=0, help='of the choice of images (default: %(default)s)')
        sub.add_argument('--device', default='cpu', help='default: %(default)s')
        sub.add_argument('--out', type=Path, metavar='FILE', help='where the picture goes')
        return sub

    def compare(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument('--compare', nargs='+', action='append', default=[], metavar='ENCODER', help='another encoder')
        sub.add_argument('--names', nargs='+', help='of the encoders, for the captions')
        return sub

    command('reconstruction', 'inputs, reconstructions and errors', 8)
    sub = compare(command('attention', 'where encoders look', 5))
    sub.add_argument(
        '--map',
        choices=['auto', 'class', 'similarity'],
        default='auto',
        help='class-token attention, or cosine of each cell with the mean of all cells; auto: the first where the '
        "encoder's vector is its class token (default: %(default)s)",
    )
    sub.add_argument('--layer', type=int, default=-1, help='block or stage, from 0, or from the end (default: last)')
    sub = compare(command('components', 'principal components of patch tokens', 6))
    sub.add_argument('--layer', type=int, default=-1, help='block or stage, from 0, or from the end (default: last)')
    sub = compare(command('embedding', 't-SNE of images, coloured by class or cluster', None))
    sub.add_argument('--classes', type=int, default=20, help='random ones (default: %(default)s)')
    sub.add_argument('--per-class', type=int, default=50, help='images of each at most (default: %(default)s)')
    sub.add_argument('--clusters', type=int, default=10, help='of images without classes (default: %(default)s)')
    sub = compare(command('retrieval', 'nearest images of some queries', 6))
    sub.add_argument('--bank', type=int, default=1000, help='images to search (default: %(default)s)')
    sub.add_argument('--top', type=int, default=6, help='neighbours of each query (default: %(default)s)')
    sub = commands.add_parser('curves', help='training curves', description='training curves, runs overlaid')
    sub.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    sub.add_argument('--keys', nargs='+', help='quantities, such as recon_l1 (default: all)')
    sub.add_argument('--out', type=Path, default=Path('curves.png'), help='.png, .svg or .pdf (default: %(default)s)')
    return parser.parse_args(argv)


def default_out(args: argparse.Namespace) -> Path:
    """``pictures/`` beside the checkpoint."""
    weights = Path(args.encoder[-1].rpartition(':')[2])
    folder = weights if weights.is_dir() else weights.parent if weights.suffix else Path('.')
    return folder / 'pictures' / f'{args.what}.png'


def encoder_names(args: argparse.Namespace, sources: list[list[str]]) -> list[str]:
    """As the user says, or the shortest that tell the encoders apart."""
    if args.names:
        if len(args.names) != len(sources) or len(set(args.names)) < len(args.names):
            raise UserError(f'--names needs {len(sources)} different names, one per encoder')
        return args.names
    last = [words[-1] for words in sources]
    short = [f'{Path(c).resolve().parent.name}/{Path(c).stem}' if Path(c).is_file() else c for c in last]
    if len(set(short)) == len(short):
        return short
    return [f'{index}: {", ".join(Path(word).stem for word in words)}' for index, words in enumerate(sources, start=1)]


def draw_reconstruction(args: argparse.Namespace):
    from repre_mm.evaluation import EncoderName
    from repre_mm.evaluation.pretraining import load_repre
    from repre_mm.utils.package import load_config
    from repre_mm.visualization import reconstruction_grid

    name = EncoderName.parse(args.encoder)
    if name.model is None or name.model.startswith('timm:'):
        raise UserError(f'{name} does not reconstruct: name a config of RePre and its training checkpoint')
    cfg = load_config(name.model)
    source = image_source(args, cfg.get('data_root'))
    model = load_repre(cfg, name.weights, args.seed, trust=args.trust).to(args.device)
    images = source.load(source.sample(args.num_images, args.seed), args.size or cfg.image_size)
    return reconstruction_grid(images / 255, model.reconstruct(images).cpu(), max_images=args.num_images)


def image_source(args: argparse.Namespace, data_root: str | None):
    from repre_mm.evaluation.loaders import ImageSource

    root = args.data or data_root
    if not root:
        raise UserError('no data_root in the config: name a folder of images with --data DIR')
    return ImageSource(root, **args.decoding)


def draw_encoders(args: argparse.Namespace):
    from repre_mm.cli.evaluation import load_named_encoder
    from repre_mm.evaluation import pictures

    sources = [args.encoder, *args.compare]
    names = encoder_names(args, sources)
    encoders = {name: load_named_encoder(args, words) for name, words in zip(names, sources, strict=True)}
    source = image_source(args, encoders[names[0]].data_root)
    if args.what == 'embedding':
        if source.labels is None:
            indices = source.sample(args.classes * args.per_class, args.seed)
        else:
            indices = source.sample_classes(args.classes, args.per_class, args.seed)
        return pictures.embedding_picture(encoders, source, indices, seed=args.seed, num_clusters=args.clusters)
    if args.what == 'retrieval':
        indices = source.sample(args.bank, args.seed)
        return pictures.retrieval_picture(encoders, source, indices, queries=args.num_images, top=args.top)
    indices = source.sample(args.num_images, args.seed)
    if args.what == 'components':
        return pictures.components_picture(encoders, source, indices, layer=args.layer)
    return pictures.attention_picture(encoders, source, indices, kind=args.map, layer=args.layer)


def draw(args: argparse.Namespace):
    if args.what == 'curves':
        from repre_mm.visualization.curves import curves_figure
        from repre_mm.visualization.runs import read_runs

        return curves_figure(read_runs(args.work_dirs), args.keys)
    return draw_reconstruction(args) if args.what == 'reconstruction' else draw_encoders(args)


def main(argv: Sequence[str] | None = None) -> None:
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.visualization import save_png

    args = parse_args(argv)
    out = args.out or default_out(args)
    with one_line_errors():
        picture = draw(args)
        out.parent.mkdir(parents=True, exist_ok=True)
        if hasattr(picture, 'savefig'):
            picture.savefig(out, dpi=150)
        else:
            save_png(picture, out)
    print(out)


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
