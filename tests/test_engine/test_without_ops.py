"""Pre-training where mmcv's ops were never compiled, and no detection or segmentation library is installed."""

import subprocess
import sys
from pathlib import Path

from fixtures.data import make_image_folder

SCRIPT = """
import sys
for name in ('mmcv._ext', 'mmdet', 'mmseg'):
    sys.modules[name] = None  # importing it raises
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fixtures.resuming import make_runner
runner = make_runner(Path(sys.argv[2]), Path(sys.argv[3]), **{'train_cfg.max_epochs': 1})
runner.train()
"""


def test_pre_training_needs_no_compiled_ops(tmp_path):
    images = make_image_folder(tmp_path / 'images', train=8)
    arguments = [str(Path(__file__).parents[1]), str(images), str(tmp_path / 'run')]
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
