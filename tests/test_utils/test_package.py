"""Configs by name, and the files that mim and mmengine look for in the package."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from repre_mm.utils.errors import UserError
from repre_mm.utils.package import FILES, find_config
from repre_mm.utils.stack import find_family, installed_version

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {file for file in (ROOT / 'configs').rglob('*.py') if '_base_' not in file.parts}


@pytest.mark.parametrize(
    'name',
    [
        'mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k',
        'repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py',
        'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py',
        'repre_mm::pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py',
    ],
)
def test_config_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py'
    assert find_config(name) == ROOT / file


def test_own_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text('')
    assert find_config('mine.py') == Path('mine.py')


def test_name_that_is_near_is_offered():
    with pytest.raises(UserError, match=r'there is no config repre_mocov3_vit-tiny_toi.*toy/repre_mocov3_vit-tiny_toy'):
        find_config('repre_mocov3_vit-tiny_toi')


def test_every_config_has_its_own_name():
    names = [file.stem for file in CONFIGS]
    assert sorted(names) == sorted(set(names))


def test_metafiles_list_every_config_once():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    assert {ROOT / path for path in index} == set((ROOT / 'configs').rglob('metafile.yml'))
    models = [model for path in index for model in yaml.safe_load((ROOT / path).read_text())['Models']]
    assert sorted(model['Config'] for model in models) == sorted(str(file.relative_to(ROOT)) for file in CONFIGS)
    assert all(Path(model['Config']).stem == model['Name'] for model in models)


def test_package_has_what_mim_looks_for():
    assert (FILES / 'tools' / 'train.py').is_file()
    assert (FILES / 'configs' / 'toy').is_dir()
    assert (FILES / 'model-index.yml').is_file()


def editable() -> bool:
    origin = json.loads(metadata.distribution('repre_mm').read_text('direct_url.json') or '{}')
    return origin.get('dir_info', {}).get('editable', False)


@pytest.mark.skipif(
    find_family() == 'openmmlab' and installed_version('repre_mm') is not None and editable(),
    reason="OpenMMLab's mmengine looks for a package that is installed as editable in site-packages",
)
def test_users_config_inherits_from_ours(tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'repre_mm::toy/repre_mocov3_vit-tiny_toy.py'\nwork_dir = 'mine'\n")
    code = (
        'from mmengine.config import Config; from repre_mm.utils.package import load_config, register_configs\n'
        'try: Config.fromfile("mine.py")\nexcept AssertionError as error: print("before:", error)\n'
        'register_configs(); cfg = Config.fromfile("mine.py"); print(cfg.model.type, cfg.work_dir)\n'
        # As mmengine's own Runner does it.
        'from mmengine.registry import MODELS; model = MODELS.build(cfg.model); print(type(model.algorithm).__name__)\n'
        'print("scopes:", load_config("mine.py").pretty_text.count("_scope_"))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert 'before: mmengine does not support to load repre_mm config' in done.stdout, done.stderr
    assert 'repre_mm.RePreAlgorithm mine\nMoCoV3\nscopes: 0' in done.stdout, done.stderr
