"""What every benchmark writes: the machine, a table, a JSON object."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ('torch', 'torchvision', 'timm', 'opencv-python-headless', 'pillow', 'onedl-mmengine', 'onedl-mmcv')
LIBRARIES += ('onedl-mmpretrain', 'numpy')


def machine(device: str = 'cpu') -> dict:
    """The processor, the GPU where one is used, the load, versions."""
    import torch

    lines = Path('/proc/cpuinfo').read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(':') for line in lines)}
    flags = fields.get('flags', '').split()
    return {
        'processor': fields.get('model name', 'unknown'),
        'bf16_instructions': [flag for flag in ('avx512_bf16', 'amx_bf16') if flag in flags],
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'gpu': torch.cuda.get_device_name() if device == 'cuda' else None,
        'load_average': round(os.getloadavg()[0], 1),
        'python': platform.python_version(),
        'versions': {name: version(name) for name in LIBRARIES},
    }


def describe(env: dict) -> str:
    """A machine in a paragraph."""
    bf16 = ' and '.join(env['bf16_instructions']) or 'none'
    return (
        f'{env["gpu"] + ", " if env["gpu"] else ""}{env["processor"]} (bf16 instructions: {bf16}), {env["cores"]} '
        f'cores, {env["threads"]} threads. Python {env["python"]}, '
        + ', '.join(f'{name} {number}' for name, number in env['versions'].items())
        + f'. Load average before measuring: {env["load_average"]}'
        + (' (other work ran beside it).' if env['load_average'] > 1.5 else '.')
    )


def command_line() -> str:
    """This command, as it was given; of absolute paths, which are this machine's own, the last part."""
    shown = [f'.../{Path(word).name}' if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return f'`{" ".join(["python", f"tools/benchmarks/{Path(sys.argv[0]).name}", *shown])}`'


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Median, least and most: '1.02 (0.98 to 1.10)'."""
    low, high = min(values), max(values)
    return f'{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, as lines."""
    return [f'| {" | ".join(cells)} |' for cells in (columns, ['---'] * len(columns), *rows)]


def publish(out: Path | None, text: str, result: dict, ratios: dict) -> None:
    """Print the text, write ``out``.md and ``out``.json, and end with the key ratios as one line of JSON."""
    print(text)
    write(out, text, {'ratios': ratios, **result})
    print(json.dumps(ratios))


def write(out: Path | None, text: str, result: dict) -> None:
    """Write ``out``.md and ``out``.json, where ``out`` is given, with or without one of these suffixes."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix('.md').write_text(text)
        out.with_suffix('.json').write_text(json.dumps(result, indent=1) + '\n')
