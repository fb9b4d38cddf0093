"""Generate the toy scene set on disk, in parallel."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from repre_mm.toy_scenes.objects import CLASSES, PARTS
from repre_mm.toy_scenes.render import render_portrait, render_scene
from repre_mm.toy_scenes.textures import STUFF
from repre_mm.toy_scenes.writers import (
    OBJECT_CATEGORIES,
    PART_CATEGORIES,
    TRAIN_IDS,
    label_map,
    object_annotations,
    part_annotations,
    write_coco,
    write_image,
)
from repre_mm.utils.atomic import write_json
from repre_mm.utils.processes import process_pool

VERSION = 1
TASKS: tuple[str, ...] = ('cls', 'coco', 'cityscapes', 'parts')
_SPLITS = ('train', 'val')
_CITY = 'toytown'
_MANIFEST = 'toy_scenes.json'
_UNFINISHED = 'toy_scenes.json.unfinished'


def make_toy_scenes(
    root: str | os.PathLike[str],
    *,
    num_train: int = 4000,
    num_val: int = 1000,
    num_scenes_train: int = 400,
    num_scenes_val: int = 100,
    image_size: int = 96,
    scene_size: tuple[int, int] = (128, 192),
    seed: int = 0,
    workers: int | None = None,
    tasks: Sequence[str] = TASKS,
    progress: bool = True,
) -> dict[str, Any]:
    """Make a toy scene set, or return at once if ``root`` already holds the same one.

    Every file depends only on the arguments, not on ``workers``. Call it from one process at a time.

    Args:
        root: The folder; absent, empty, or with a (possibly unfinished) toy scene set.
        num_train: Training images of task ``cls``, spread evenly over the classes; at least one for each.
        num_val: The same for validation.
        num_scenes_train: Training scenes of the tasks ``coco`` and ``cityscapes``; at least 1.
        num_scenes_val: The same for validation.
        image_size: Side of a ``cls`` image in pixels, at least 32.
        scene_size: Height and width of a scene in pixels, at least 64 each.
        seed: Seed of the whole set, at least 0.
        workers: Number of processes, by default one per core; 1 starts none. With more, call this under
            ``if __name__ == '__main__':``, as they import the script.
        tasks: What to write: ``cls`` (``cls/{train,val}/<class>/*.jpg``), ``coco`` (``coco/``),
            ``cityscapes`` (``cityscapes/``; the same scenes, and ``classes.txt``) and ``parts``
            (``parts/annotations/parts_{train,val}.json``; file names relative to ``cls/{train,val}``).
        progress: Whether to show a progress bar.

    Returns:
        The manifest that ``toy_scenes.json`` holds: version, arguments, class, part and stuff names.

    Raises:
        ValueError: For a bad argument, or a ``root`` with a set that other arguments made.
        FileExistsError: For a ``root`` that holds something else.
    """
    manifest = {
        'version': VERSION,
        'seed': seed,
        'tasks': [task for task in TASKS if task in tasks],
        'num_train': num_train,
        'num_val': num_val,
        'num_scenes_train': num_scenes_train,
        'num_scenes_val': num_scenes_val,
        'image_size': image_size,
        'scene_size': list(scene_size),
        'classes': list(CLASSES),
        'parts': {name: list(parts) for name, parts in PARTS.items()},
        'stuff': list(STUFF),
    }
    workers = workers if workers is not None else len(os.sched_getaffinity(0))
    _check_arguments(manifest, tasks, workers)
    root = Path(root)
    if _is_complete(root, manifest):
        return manifest

    root.mkdir(parents=True, exist_ok=True)
    (root / _UNFINISHED).touch()
    for task in TASKS:
        if (root / task).exists():
            shutil.rmtree(root / task)
    total = num_train + num_val if 'cls' in tasks else 0
    has_scenes = 'coco' in tasks or 'cityscapes' in tasks
    total += num_scenes_train + num_scenes_val if has_scenes else 0
    bar = tqdm(total=total, desc='toy scenes', unit='image', disable=not progress)
    with bar, nullcontext() if workers == 1 else process_pool(workers, __name__) as pool:
        run = partial(_run, pool, bar, workers)
        for split in _SPLITS:
            if 'cls' in tasks:
                _make_portraits(root, split, manifest, run)
            if has_scenes:
                _make_scenes(root, split, manifest, run)
    if 'cityscapes' in tasks:
        (root / 'cityscapes/classes.txt').write_text('\n'.join(TRAIN_IDS) + '\n')
    # The manifest, written whole or not at all, exists only if all other files do.
    write_json(manifest, root / _MANIFEST)
    (root / _UNFINISHED).unlink()
    return manifest


def _check_arguments(manifest: dict[str, Any], tasks: Sequence[str], workers: int) -> None:
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks or isinstance(tasks, str):
        raise ValueError(f'tasks must be a non-empty list out of {list(TASKS)}, got {tasks!r}')
    if 'parts' in tasks and 'cls' not in tasks:
        raise ValueError("task 'parts' annotates the images of task 'cls': add 'cls' to tasks")
    limits = {'image_size': 32, 'seed': 0}
    limits.update(num_train=len(CLASSES), num_val=len(CLASSES), num_scenes_train=1, num_scenes_val=1)
    for name, least in limits.items():
        if manifest[name] < least:
            raise ValueError(f'{name} must be at least {least}, got {manifest[name]}')
    if len(manifest['scene_size']) != 2 or min(manifest['scene_size']) < 64:
        raise ValueError(f'scene_size must be (height, width), at least 64 each, got {manifest["scene_size"]}')
    if workers < 1:
        raise ValueError(f'workers must be at least 1, got {workers}')


def _is_complete(root: Path, manifest: dict[str, Any]) -> bool:
    """Whether ``root`` holds this set already; raises if it holds anything but an unfinished one."""
    path = root / _MANIFEST
    if path.is_file():
        found = json.loads(path.read_text())
        if found == manifest:
            return True
        differing = [key for key in manifest if found.get(key) != manifest[key]]
        changes = ', '.join(f'{key}={found.get(key)!r} (asked: {manifest[key]!r})' for key in differing)
        raise ValueError(f'{root} holds a toy scene set made with {changes}; delete it or choose another folder')
    if root.exists() and not root.is_dir():
        raise FileExistsError(f'{root} is a file; give a folder')
    if root.is_dir() and not (root / _UNFINISHED).is_file():
        foreign = next(root.iterdir(), None)
        if foreign is not None:
            raise FileExistsError(f'{root} holds something else ({foreign.name}); give a new or empty folder')
    return False


def _run(pool: ProcessPoolExecutor | None, bar: tqdm, workers: int, job: Callable[[int], Any], count: int) -> list[Any]:
    chunk = max(1, min(16, count // (4 * workers)))
    made = map(job, range(count)) if pool is None else pool.map(job, range(count), chunksize=chunk)
    results = []
    for result in made:
        results.append(result)
        bar.update()
    return results


def _rng(manifest: dict[str, Any], split: str, kind: int, index: int) -> np.random.Generator:
    return np.random.default_rng([manifest['seed'], _SPLITS.index(split), kind, index])


def _make_portraits(root: Path, split: str, manifest: dict[str, Any], run: Callable[..., list[Any]]) -> None:
    folder = root / 'cls' / split
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    made = run(partial(_portrait_job, folder, split, manifest), manifest[f'num_{split}'])
    if 'parts' in manifest['tasks']:
        images, annotations = zip(*made, strict=True)
        write_coco(root / 'parts/annotations' / f'parts_{split}.json', images, annotations, PART_CATEGORIES)


def _portrait_job(folder: Path, split: str, manifest: dict[str, Any], index: int) -> tuple[dict, list[dict]]:
    rng = _rng(manifest, split, 0, index)
    name, size = CLASSES[index % len(CLASSES)], manifest['image_size']
    scene = render_portrait(name, rng, size)
    file_name = f'{name}/{name}_{index:06d}.jpg'
    write_image(folder / file_name, scene.image, int(rng.integers(65, 96)))
    return {'file_name': file_name, 'height': size, 'width': size}, part_annotations(scene)


def _make_scenes(root: Path, split: str, manifest: dict[str, Any], run: Callable[..., list[Any]]) -> None:
    folders = {}
    if 'coco' in manifest['tasks']:
        folders['coco'] = root / 'coco' / f'{split}2017'
    if 'cityscapes' in manifest['tasks']:
        folders['image'] = root / 'cityscapes/leftImg8bit' / split / _CITY
        folders['label'] = root / 'cityscapes/gtFine' / split / _CITY
    for folder in folders.values():
        folder.mkdir(parents=True)
    made = run(partial(_scene_job, folders, split, manifest), manifest[f'num_scenes_{split}'])
    if 'coco' in manifest['tasks']:
        images, annotations = zip(*made, strict=True)
        path = root / 'coco/annotations' / f'instances_{split}2017.json'
        write_coco(path, images, annotations, OBJECT_CATEGORIES)


def _scene_job(folders: dict[str, Path], split: str, manifest: dict[str, Any], index: int) -> tuple[dict, list[dict]]:
    rng = _rng(manifest, split, 1, index)
    height, width = manifest['scene_size']
    names = [CLASSES[k] for k in rng.integers(0, len(CLASSES), rng.integers(2, 7))]
    scene = render_scene(names, rng, height, width)
    # As in COCO, numbers are unique over both splits.
    file_name = f'{index + _SPLITS.index(split) * manifest["num_scenes_train"]:012d}.jpg'
    if 'coco' in folders:
        write_image(folders['coco'] / file_name, scene.image, int(rng.integers(65, 96)))
    if 'image' in folders:
        stem = f'{_CITY}_{index:06d}_000019'
        write_image(folders['image'] / f'{stem}_leftImg8bit.png', scene.image)
        write_image(folders['label'] / f'{stem}_gtFine_labelTrainIds.png', label_map(scene))
    return {'file_name': file_name, 'height': height, 'width': width}, object_annotations(scene)
