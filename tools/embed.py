"""Write one vector per image: ``python tools/embed.py ENCODER --data DIR --out vectors.npy``.

The paths and the name of the encoder go beside it, into ``vectors.json``; ``vectors.parquet`` holds them itself.
``tools/search.py`` finds what is near.
"""


def main() -> None:
    from pathlib import Path

    from repre_mm.cli.errors import one_line_errors
    from repre_mm.cli.evaluation import evaluation_parser, load_named_encoder

    parser = evaluation_parser('Write one vector per image.', launcher=False)
    parser.set_defaults(out=Path('vectors.npy'))
    args = parser.parse_intermixed_args()
    with one_line_errors('embedding', args.traceback):
        from torch.utils.data import DataLoader

        from repre_mm.apis.images import Crops
        from repre_mm.apis.vectors import Vectors
        from repre_mm.evaluation import extract_features

        encoder = load_named_encoder(args, args.encoder)
        place = args.data or encoder.data_root or []
        crops = Crops(place, encoder.image_size, **args.decoding)
        values, _ = extract_features(
            encoder, DataLoader(crops, args.batch_size, num_workers=args.workers), amp=args.amp
        )
        options = {name: getattr(args, name) for name in ('size', 'network', 'prefix')}
        options |= {'place': place, 'decoding': args.decoding}  # where tools/search.py finds them again
        Vectors(values, list(crops.names), args.encoder, options).save(args.out)
    paths = f'; paths in {args.out.with_suffix(".json")}' * (args.out.suffix == '.npy')
    print(f'{args.out}: {len(values):,} vectors of length {values.shape[1]}{paths}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
