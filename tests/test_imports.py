"""Imports of the package as a whole: they change nothing outside it, and checkpoints need no model library."""

import subprocess
import sys

EVERYTHING = """
import importlib, os, pkgutil, warnings
import torch
import mmpretrain.models, mmpretrain.datasets, mmpretrain.engine, mmengine.runner, mmengine.visualization
import mmdet.models, mmseg.models
from mmengine.fileio.backends.registry_utils import backends
from mmengine.runner.checkpoint import CheckpointLoader

def state():
    readers = dict(CheckpointLoader._schemes), dict(backends)
    return *readers, dict(os.environ), list(warnings.filters), torch.get_num_threads()

before = state()
import repre_mm.checkpoint, repre_mm.engine
for module in pkgutil.walk_packages(repre_mm.__path__, 'repre_mm.'):
    importlib.import_module(module.name)
for ours, theirs in zip(before, state(), strict=True):
    assert ours == theirs, (ours, theirs)
"""
WITHOUT_MODELS = """
import sys
for name in ('mmpretrain', 'mmdet', 'mmseg', 'timm'):
    sys.modules[name] = None  # an import of it fails
import repre_mm.checkpoint
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_imports_change_nothing_outside_the_package():
    run(EVERYTHING)


def test_checkpoints_are_read_without_a_model_library():
    run(WITHOUT_MODELS)
