"""Compare frozen encoders on parts and on whole objects.

python tools/part_study.py --encoders NAME=CONFIG:CHECKPOINT NAME=CONFIG:random NAME=timm:MODEL:FILE ... \
    --train-ann JSON --train-images DIR --val-ann JSON --val-images DIR --out DIR

The annotations are COCO part masks, such as the toy scenes' parts/annotations/parts_{train,val}.json (images:
cls/{train,val}). Writes part_study.md and part_study.json, one row per encoder, after every encoder.

Released weights (DeiT, MoCo v3, DINO, MAE, iBOT, BEiT, CAE, ...) come as files that you have, through the timm model
that they are of: deit=timm:deit_base_patch16_224:deit_base.pth. The model's options follow after commas:
cae=timm:beit_base_patch16_224,use_abs_pos_emb=True,use_rel_pos_bias=False:cae_base.pth. Images are normalised by
ImageNet's mean and deviation, or as a pretrained tag in the model's name says (beit_base_patch16_224.in22k_ft_in22k).
"""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--encoders', nargs='+', required=True, metavar='NAME=...', help='see above')
    parser.add_argument('--train-ann', required=True, metavar='JSON', help='COCO part annotations for training')
    parser.add_argument('--train-images', required=True, metavar='DIR', help='their images')
    parser.add_argument('--val-ann', required=True, metavar='JSON', help='COCO part annotations for the scores')
    parser.add_argument('--val-images', required=True, metavar='DIR', help='their images')
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='where the table goes')
    parser.add_argument('--size', type=int, help="side of the images in pixels (default: each encoder's own)")
    parser.add_argument('--k', type=int, default=20, help='nearest neighbours (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=32, help='images per forward pass (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='image loading processes (default: %(default)s)')
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of random weights and probes (default: %(default)s)')
    return parser.parse_args()


def study(args: argparse.Namespace) -> str:
    from repre_mm.cli.evaluation import write_json
    from repre_mm.evaluation import EvaluationError
    from repre_mm.studies import parts
    from repre_mm.utils.stack import stack_versions

    sources = [parts.parse_encoder(text) for text in args.encoders]
    names = [name for name, _, _ in sources]
    if len(set(names)) < len(names):
        raise EvaluationError(f'the encoders need different names: {", ".join(names)}')
    train = parts.PartAnnotations.read(args.train_ann, args.train_images)
    val = parts.PartAnnotations.read(args.val_ann, args.val_images)
    parts.check_pair(train, val)
    build = {'size': args.size, 'device': args.device, 'seed': args.seed}
    for _, config, checkpoint in sources:  # a mistake in the last one shows before the first is scored
        parts.load_named_encoder(config, checkpoint, **build)
    args.out.mkdir(parents=True, exist_ok=True)

    results = {}
    head = {
        'train_images': len(train.images),
        'val_images': len(val.images),
        'part_classes': len(train.parts),
        'object_classes': list(train.objects),
        'objects': parts.object_note(train),
        'seed': args.seed,
        'versions': stack_versions(),
    }
    for number, (name, config, checkpoint) in enumerate(sources, start=1):
        print(f'encoder {number} of {len(sources)}: {name}')
        encoder = parts.load_named_encoder(config, checkpoint, **build)
        options = {'k': args.k, 'batch_size': args.batch_size, 'workers': args.workers, 'seed': args.seed}
        result = parts.study_encoder(encoder, train, val, **options)
        what = {'encoder': encoder.model.removesuffix('.py'), 'weights': encoder.weights, 'network': encoder.network}
        result = {**what, 'mean': list(encoder.mean), **result}
        results[name] = result
        table = f'{parts.markdown_table(results)}\n{head["objects"]}\n'
        write_json({**head, 'encoders': results}, args.out / 'part_study.json')
        (args.out / 'part_study.md').write_text(table)
    return table


def main() -> None:
    from repre_mm.cli.errors import one_line_errors

    args = parse_args()
    with one_line_errors():
        table = study(args)
    print(f'\n{table}\n{args.out / "part_study.md"}')


if __name__ == '__main__':
    main()
