"""Find the weights of a config by its name: in places that the user names, else among those of the package."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import torch
import yaml

from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint
from repre_mm.utils.atomic import write_atomically
from repre_mm.utils.errors import UserError
from repre_mm.utils.package import FILES, find_config

#: Environment variable: places to look in before the package, separated by spaces.
PLACES = 'REPRE_WEIGHTS'


def find_weights(name: str) -> tuple[str, str] | None:
    """Find the weights of a config: NAME.safetensors or NAME.pth in a folder, NAME.safetensors at an address.

    The places are those in ``REPRE_WEIGHTS``: folders, ``https://...`` and ``hf-hub:USER``, for the repository
    USER/NAME on the Hub; then the package. What is downloaded is kept under ``~/.cache/repre_mm``.

    Args:
        name: Of a config that comes with the package, such as ``repre_simclr_vit-tiny_toy``.

    Returns:
        The paths of config and weights; None if no config has that name.

    Raises:
        CheckpointError: No place has them; the message says what each one answered.
    """
    try:
        config = find_config(name)
    except UserError:
        return None
    answers = []
    for place in [*os.environ.get(PLACES, '').split(), str(FILES / 'weights')]:
        try:
            return str(config), str(_in_place(place, config))
        except Exception as error:  # of the Hub's client, or of the HTTP library below it, which change
            answers.append(f'{place} ({str(error).strip().splitlines()[0]})')
    raise CheckpointError(
        f'there are no weights of {config.stem} in {", ".join(answers)}; none are published. Train them (repre train '
        f'{config.stem} --data DIR), or name the folder, https://... or hf-hub:USER that has them in {PLACES}'
    )


def _in_place(place: str, config: Path) -> Path:
    name = config.stem
    if place.startswith('hf-hub:'):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(f'{place.removeprefix("hf-hub:")}/{name}', 'model.safetensors'))
    if '://' in place:
        return _downloaded(f'{place.rstrip("/")}/{name}.safetensors', _sha256(config))
    for path in (Path(place).expanduser() / f'{name}{ending}' for ending in ('.safetensors', '.pth')):
        if path.is_file():
            return path
    raise FileNotFoundError('no such file')


def _downloaded(url: str, digest: str | None) -> Path:
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'repre_mm/weights'
    path = cache / sha256(url.encode()).hexdigest()[:8] / url.rpartition('/')[2]
    if not path.is_file():

        def fetch(draft: Path) -> None:
            torch.hub.download_url_to_file(url, str(draft), digest)
            read_checkpoint(draft)  # else a web page that says "not found" would stay here

        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, fetch)
    return path


def _sha256(config: Path) -> str | None:
    """The checksum of the published file, from the metafile of the config's folder."""
    metafile = next(folder / 'metafile.yml' for folder in config.parents if (folder / 'metafile.yml').is_file())
    models = yaml.safe_load(metafile.read_text())['Models']
    return next(model['Metadata'].get('SHA256') for model in models if model['Name'] == config.stem)
