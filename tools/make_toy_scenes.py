"""Make the toy scene set: ``python tools/make_toy_scenes.py data/toy_scenes --preview sheet.png``."""

import argparse
import sys
import time
from pathlib import Path

from repre_mm.toy_scenes import TASKS, make_toy_scenes
from repre_mm.toy_scenes.preview import contact_sheet
from repre_mm.toy_scenes.writers import write_image


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add('out', type=Path, metavar='OUT', help='folder: new, empty, or with an unfinished set')
    add('--num-train', type=int, default=4000, help='training images in cls/')
    add('--num-val', type=int, default=1000, help='validation images in cls/')
    add('--num-scenes-train', type=int, default=400, help='training scenes in coco/ and cityscapes/')
    add('--num-scenes-val', type=int, default=100, help='validation scenes in coco/ and cityscapes/')
    add('--image-size', type=int, default=96, help='side of an image in cls/, in pixels')
    add('--scene-size', type=int, nargs=2, default=(128, 192), metavar=('H', 'W'), help='in pixels')
    add('--seed', type=int, default=0, help='same seed, same files')
    add('--workers', type=int, help='number of processes (one per core if not given)')
    add('--tasks', nargs='+', default=TASKS, choices=TASKS, help='what to write')
    add('--preview', type=Path, metavar='PNG', help='also draw a contact sheet of the set')
    arguments = vars(parser.parse_args())
    out, preview = arguments.pop('out'), arguments.pop('preview')

    start = time.perf_counter()
    try:
        manifest = make_toy_scenes(out, **arguments)
        if preview is not None:
            write_image(preview, contact_sheet(out))
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    seconds = time.perf_counter() - start

    print(f'{out}: toy scenes, seed {manifest["seed"]}, ready in {seconds:.1f} s')
    for task in manifest['tasks']:
        unit, counts = ('images', 'num') if task in ('cls', 'parts') else ('scenes', 'num_scenes')
        print(f'  {task:11s}{manifest[f"{counts}_train"]} train + {manifest[f"{counts}_val"]} val {unit}')
    print(f'  classes    {", ".join(manifest["classes"])}')
    if preview is not None:
        print(f'  preview    {preview}')


if __name__ == '__main__':
    main()
