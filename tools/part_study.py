"""Compare frozen encoders on parts and on whole objects, as the part-aware study does (arXiv 2301.11915).

python tools/part_study.py --encoders NAME=ENCODER ... --parts LAYOUT:DIR --out DIR
python tools/part_study.py --encoders NAME=ENCODER ... --protocol quick --out DIR \
    --train-ann JSON --train-images DIR --val-ann JSON --val-images DIR

ENCODER is CONFIG:CHECKPOINT, CONFIG:random, a released FILE (DeiT, MoCo v3, DINO, CAE, MAE, BEiT, iBOT, ...) or
timm:MODEL[,OPTION=VALUE...][:FILE]. The data is CUB-200-2011 (cub), Pascal-Part (pascal-part), PartImageNet
(partimagenet), ADE20K with parts (ade20k), or COCO files of part masks, such as the toy scenes'
parts/annotations/parts_{train,val}.json (images: cls/{train,val}).

The protocol 'study' cuts parts and objects out, classifies them by linear and attentive probes, retrieves every part
among all, and trains an FCN head of segmentation (160,000 iterations, unless --iterations says otherwise). 'quick'
pools cells inside masks (linear, kNN) and fits a linear head on cells, in minutes. Writes part_study.md and
part_study.json, one row per encoder, after every encoder.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_args() -> argparse.Namespace:
    from repre_mm.cli.arguments import add_encoder_options
    from repre_mm.studies.parts.recognition import LEVELS, TASKS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--encoders', nargs='+', required=True, metavar='NAME=ENCODER', help='see above')
    parser.add_argument('--protocol', choices=('study', 'quick'), default='study', help='default: %(default)s')
    data = parser.add_argument_group('data: one layout, or two COCO files with their images')
    data.add_argument('--parts', metavar='LAYOUT:DIR', help='see above')
    data.add_argument('--train-ann', metavar='JSON', help='COCO part annotations for training')
    data.add_argument('--train-images', metavar='DIR', help='their images')
    data.add_argument('--val-ann', metavar='JSON', help='COCO part annotations for the scores')
    data.add_argument('--val-images', metavar='DIR', help='their images')
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='where the table goes')
    parser.add_argument('--size', type=int, help="side of the images in pixels (default: each encoder's own)")
    study = parser.add_argument_group('protocol study')
    study.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS), help='default: all')
    study.add_argument('--levels', nargs='+', choices=LEVELS, default=list(LEVELS), help='default: both')
    study.add_argument('--epochs', type=int, help="of the probes (default: the study's 90)")
    study.add_argument('--iterations', type=int, help="of the FCN head (default: the study's 160,000)")
    study.add_argument('--crop', type=int, help="of segmentation, in pixels (default: the study's 512 or 480)")
    parser.add_argument('--k', type=int, default=20, help='nearest neighbours of the quick protocol')
    parser.add_argument('--batch-size', type=int, default=32, help='images per forward pass (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='image loading processes (default: %(default)s)')
    parser.add_argument('--device', default='cpu', help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of random weights and probes (default: %(default)s)')
    add_encoder_options(parser)
    args = parser.parse_args()
    coco = (args.train_ann, args.train_images, args.val_ann, args.val_images)
    if bool(args.parts) == any(coco) or (any(coco) and not all(coco)):
        parser.error(
            'name the data either by --parts or by all of --train-ann, --train-images, --val-ann, --val-images'
        )
    return args


def study(args: argparse.Namespace) -> str:
    from repre_mm.evaluation import load_frozen_encoder
    from repre_mm.studies.parts.encoders import parse_encoders
    from repre_mm.studies.parts.layouts import open_coco, open_layout
    from repre_mm.studies.parts.pooled import quick_study
    from repre_mm.studies.parts.recognition import study_encoder
    from repre_mm.studies.parts.representations import find_projector
    from repre_mm.studies.parts.table import QUICK_COLUMNS, STUDY_COLUMNS, study_table
    from repre_mm.utils.atomic import write_json, write_text
    from repre_mm.utils.stack import stack_versions

    encoders = parse_encoders(args.encoders)
    if args.parts:
        (train, val), scales = open_layout(args.parts)
    else:
        (train, val), scales = open_coco((args.train_ann, args.train_images), (args.val_ann, args.val_images))
    if args.crop:
        scales = scales.scaled(args.crop)
    source = {'prefix': args.prefix, 'network': args.network, 'trust': args.trust, 'seed': args.seed}

    def encoder_at(name: str, size: int | None = None):
        return load_frozen_encoder(encoders[name], size=size or args.size, device=args.device, **source)

    for name in encoders:  # a mistake in the last one shows before the first is scored
        encoder_at(name)
    args.out.mkdir(parents=True, exist_ok=True)
    head = {
        'protocol': args.protocol,
        'train_images': len(train.paths),
        'val_images': len(val.paths),
        'part_classes': len(train.parts),
        'object_classes': list(train.objects),
        'objects': train.object_note,
        'seed': args.seed,
        'versions': stack_versions(),
    }
    results = {}
    common = {'batch_size': args.batch_size, 'workers': args.workers, 'seed': args.seed}
    for number, name in enumerate(encoders, start=1):
        print(f'encoder {number} of {len(encoders)}: {name}')
        encoder = encoder_at(name)
        if args.protocol == 'quick':
            columns, result = QUICK_COLUMNS, quick_study(encoder, train, val, k=args.k, **common)
        else:
            options = {'tasks': args.tasks, 'levels': args.levels, 'epochs': args.epochs, 'scales': scales}
            options |= {'iterations': args.iterations} if args.iterations else {}
            projector = find_projector(encoders[name], **source)
            result = study_encoder(
                lambda size, name=name: encoder_at(name, size),
                train,
                val,
                projector=projector and projector.to(args.device),
                **options,
                **common,
            )
            columns = STUDY_COLUMNS
        what = {'encoder': encoder.model.removesuffix('.py'), 'weights': encoder.weights, 'network': encoder.network}
        results[name] = {**what, 'mean': list(encoder.mean), **result}
        table = f'{study_table(results, columns)}\n{head["objects"]}\n'
        write_json({**head, 'encoders': results}, args.out / 'part_study.json')
        write_text(table, args.out / 'part_study.md')
    return table


def main() -> None:
    from repre_mm.cli.errors import one_line_errors

    args = parse_args()
    with one_line_errors():
        table = study(args)
    print(f'\n{table}\n{args.out / "part_study.md"}')


if __name__ == '__main__':
    from repre_mm.cli.start import run_tool

    run_tool(main)
