"""Find images near others: ``python tools/search.py vectors.npy QUERY [QUERY ...] --out nearest.png``.

``vectors.npy`` is what ``tools/embed.py`` wrote. ``--duplicates 0.98`` lists pairs that are nearly the same instead.
"""

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_traceback_argument

    parser = argparse.ArgumentParser(description='Find images near others, by vectors of `embed`.')
    parser.add_argument('vectors', type=Path, help='.npy or .parquet of `embed`')
    parser.add_argument('queries', nargs='*', metavar='QUERY', help='images: among those embedded, or new ones')
    parser.add_argument('--top', type=int, default=8, help='neighbours of each query (default: %(default)s)')
    parser.add_argument('--duplicates', type=float, metavar='COSINE', help='list pairs of images at least this near')
    parser.add_argument('--trust', action='store_true', help="unpickle the encoder's file, to embed new images")
    parser.add_argument('--out', type=Path, default=Path('nearest.png'), help='picture (default: %(default)s)')
    add_traceback_argument(parser)
    return parser.parse_args()


def embed_queries(vectors, queries: list[str], trust: bool):
    """(Q, C): from the file where the query is in it, else by its encoder."""
    import torch

    from repre_mm.apis.encoder import load_encoder

    rows = {path: row for row, path in enumerate(vectors.paths)}
    new = [query for query in queries if query not in rows]
    fresh = {}
    if new:
        options = {name: vectors.options[name] for name in ('size', 'network', 'prefix')}
        encoder = load_encoder(vectors.encoder, **options, trust=trust)
        decoding = vectors.options.get('decoding', {})
        fresh = dict(zip(new, encoder.embed(new, progress=len(new) > 64, **decoding), strict=True))
    return torch.stack([vectors.values[rows[query]] if query in rows else fresh[query] for query in queries])


def readers(vectors) -> dict:
    """Name -> what reads the image, of those embedded that are no files but parts of shards or tables."""
    from repre_mm.datasets import open_images
    from repre_mm.datasets.storage import is_remote

    if 'place' not in vectors.options or is_remote(vectors.paths[0]) or Path(vectors.paths[0]).is_file():
        return {}
    return dict(open_images(vectors.options['place'], **vectors.options['decoding']))


def main() -> None:
    from repre_mm.apis.images import Crops
    from repre_mm.apis.vectors import Vectors
    from repre_mm.cli.errors import one_line_errors
    from repre_mm.utils.errors import UserError
    from repre_mm.visualization import save_png
    from repre_mm.visualization.overlays import sheet

    args = parse_args()
    with one_line_errors('the search', args.traceback):
        vectors = Vectors.load(args.vectors)
        if args.duplicates is not None:
            for cosine, one, other in vectors.duplicates(args.duplicates):
                print(f'{cosine:.4f}\t{one}\t{other}')
            return
        if not args.queries:
            raise UserError('name a QUERY, or give --duplicates COSINE')
        queries = embed_queries(vectors, args.queries, args.trust)
        cosines, nearest = vectors.nearest(queries, args.top)
        rows, read, decoding = [], readers(vectors), vectors.options.get('decoding', {})
        for query, values, indices in zip(args.queries, cosines.tolist(), nearest.tolist(), strict=True):
            names = [vectors.paths[index] for index in indices]
            for value, name in zip(values, names, strict=True):
                print(f'{query}\t{value:.4f}\t{name}')
            images = [read.get(name, name) for name in (query, *names)]
            rows.append([crop.permute(1, 2, 0).numpy() for crop, _ in Crops(images, 192, **decoding)])
        save_png(sheet(rows, ['query', *(str(rank + 1) for rank in range(nearest.shape[1]))]), args.out)
    print(args.out)


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
