"""Folders of images and masks for semantic segmentation, Cityscapes' among them, and the names of their classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.sources.folder import find_images
from repre_mm.registry import DATASETS

#: Pixels of this label count nowhere.
VOID = 255
#: In a set of one folder, every tenth image is for validation.
HELD_OUT = 10

#: Ends of Cityscapes' names: of images, and of masks of train ids.
CITYSCAPES_SUFFIXES = ('_leftImg8bit', '_gtFine_labelTrainIds')


@DATASETS.register_module()
class MaskFolder(BaseDataset):
    """Images in one folder, masks of one label per pixel in another; samples have the keys of mmseg's datasets.

    Args:
        data_prefix: ``img_path`` and ``seg_map_path``, the two folders.
        image_suffix, mask_suffix: See :func:`find_pairs`.
        ignore_label: The label of void, beside 255. The labels above it move down by one.
        part: ``'all'``; ``'val'``, every tenth image; or ``'train'``, the others.
        **settings: Of mmengine's ``BaseDataset``: ``metainfo`` with ``classes``, ``pipeline`` and others.

    Raises:
        DatasetError: See :func:`find_pairs`.
    """

    def __init__(
        self,
        *,
        image_suffix: str = '',
        mask_suffix: str = '',
        ignore_label: int = VOID,
        part: str = 'all',
        **settings: Any,
    ) -> None:
        self.image_suffix, self.mask_suffix = image_suffix, mask_suffix
        self.ignore_label, self.part = ignore_label, part
        super().__init__(**settings)

    def load_data_list(self) -> list[dict]:
        """List the samples, without reading them; called by mmengine."""
        folders = self.data_prefix['img_path'], self.data_prefix['seg_map_path']
        pairs = find_pairs(*folders, self.image_suffix, self.mask_suffix)
        train = [pair for index, pair in enumerate(pairs) if index % HELD_OUT]
        pairs = {'all': pairs, 'train': train, 'val': pairs[::HELD_OUT]}[self.part]
        # mmseg's loading step takes a time for each entry: no more of them than there are classes.
        classes = self.metainfo.get('classes')
        labels = range(self.ignore_label + 1, VOID if classes is None else len(classes) + 1)
        label_map = {self.ignore_label: VOID, **{label: label - 1 for label in labels}}
        common = dict(label_map=None if self.ignore_label == VOID else label_map, reduce_zero_label=False)
        return [{'img_path': image, 'seg_map_path': mask, 'seg_fields': [], **common} for image, mask in pairs]


def find_pairs(
    images: str | os.PathLike, masks: str | os.PathLike, image_suffix: str = '', mask_suffix: str = ''
) -> list[tuple[str, str]]:
    """Find the mask of each image: the same path in the other folder, but for suffix and extension.

    Args:
        images: Folder of images, at any depth.
        masks: Folder of masks.
        image_suffix: End of the images' names, before the extension; images without it are left out.
        mask_suffix: End of the masks' names, before the extension.

    Returns:
        Paths of images, sorted, with those of their masks.

    Raises:
        DatasetError: A folder is missing or empty, an image has no mask, or two of one name.
    """
    named = _by_name(images, image_suffix)
    candidates = _by_name(masks, mask_suffix)
    missing = [name for name in named if name not in candidates]
    if missing:
        made = " Cityscapes' own are made by csCreateTrainIdLabelImgs of cityscapesscripts"
        raise DatasetError(
            f'{len(missing):,} of {len(named):,} images have no mask; the first is {named[missing[0]]}, whose mask '
            f'would be {os.path.join(masks, missing[0] + mask_suffix)}.png: add the masks, or move the images away.'
            f'{made if "gtFine" in mask_suffix else ""}'
        )
    return [(path, candidates[name]) for name, path in named.items()]


def locate_split(data: str | os.PathLike, masks: str | os.PathLike | None, split: str) -> dict[str, Any]:
    """Find a split's images and masks.

    Args:
        data: The images, in a folder for each split (``DIR/train``, ``DIR/val``), or all in one. ``{split}`` in the
            name stands for the split. Without ``masks``, a folder laid out as Cityscapes.
        masks: The masks, likewise. One folder may serve all splits.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        Arguments of :class:`MaskFolder`.

    Raises:
        DatasetError: There is no such folder.
    """
    image_suffix = mask_suffix = ''
    if masks is None:
        data, masks = f'{data}/leftImg8bit/{{split}}', f'{data}/gtFine/{{split}}'
        image_suffix, mask_suffix = CITYSCAPES_SUFFIXES
    images, labels = _folder(data, split), _folder(masks, split)
    whole = images == Path(data).expanduser()
    if whole and split == 'test':
        raise DatasetError(f'there is no folder {images / split}: name a split that {data} has')
    return dict(
        data_prefix=dict(img_path=str(images), seg_map_path=str(labels)),
        image_suffix=image_suffix,
        mask_suffix=mask_suffix or _common_suffix(images, labels),
        part=split if whole else 'all',
    )


def find_classes(root: str | os.PathLike, given: Sequence[str] | None = None) -> list[str]:
    """Find the classes of a data set: those given, else ``classes.txt`` in its folder, one name per line.

    Args:
        root: The data set.
        given: Names; or one word, which is a number of classes or a file of them.

    Returns:
        Names in the order of the labels; none where nothing names them.

    Raises:
        DatasetError: There is no such file, no name, or a name comes twice.
    """
    word = given[0] if given and len(given) == 1 else ''
    if word.isdigit():
        given = [f'class {label}' for label in range(int(word))]
    elif given is None or word.endswith('.txt'):
        path = Path(word or Path(root) / 'classes.txt')
        if given is None and not path.is_file():
            return []
        try:
            given = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        except OSError as error:
            raise DatasetError(f'{path} cannot be read ({error.strerror}): name another with --classes') from error
    if not given or len(set(given)) < len(given):
        raise DatasetError(f'--classes or classes.txt must name one class at least, and none twice: {" ".join(given)}')
    return list(given)


def _folder(name: str | os.PathLike, split: str) -> Path:
    """The folder of a split, or the one of all images."""
    path = Path(str(name).replace('{split}', split)).expanduser()
    if '{split}' not in str(name) and any((path / usual).is_dir() for usual in ('train', 'val')):
        path /= split
    if not path.is_dir():
        raise DatasetError(
            f'the data folder {path} does not exist. Name yours with --data DIR and --masks DIR, or with --data alone '
            f'one laid out as Cityscapes: leftImg8bit/{split}/<city>/*{CITYSCAPES_SUFFIXES[0]}.png (or .jpg) and '
            f'gtFine/{split}/<city>/*{CITYSCAPES_SUFFIXES[1]}.png'
        )
    return path


def _common_suffix(images: Path, masks: Path) -> str:
    """What masks have at the end of their names and images do not, such as ``_mask``; as the first image shows."""
    if images.resolve() == masks.resolve():
        raise DatasetError(f'{images} holds images and masks: move the masks into a folder of their own')
    first = os.path.splitext(find_images(images)[0])[0]
    names = [os.path.splitext(path)[0] for path in find_images(masks)]
    suffixes = [name.removeprefix(first) for name in names if name.startswith(first)]
    if not suffixes:
        raise DatasetError(
            f'{images}/{first} has no mask in {masks}, where the first is {names[0]}: a mask has the path of its image '
            'in the other folder, with the same end added to every name'
        )
    return min(suffixes, key=len)


def _by_name(folder: str | os.PathLike, suffix: str) -> dict[str, str]:
    """Name without suffix and extension -> path, sorted."""
    found: dict[str, str] = {}
    for path in find_images(folder):
        stem = os.path.splitext(path)[0]
        if not stem.endswith(suffix):
            continue
        name = stem.removesuffix(suffix)
        if name in found:
            raise DatasetError(f'{found[name]} and {os.path.join(folder, path)} have one name: keep one of them')
        found[name] = os.path.join(folder, path)
    if not found:
        raise DatasetError(f'no images *{suffix}.png or other formats under {folder}')
    return found
