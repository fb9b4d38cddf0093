"""The ``repre`` command: one name for every tool, each loaded only when it is asked for."""

from __future__ import annotations

import argparse
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from repre_mm.version import __version__

# Subcommand: (the file under tools/, what it does). `python tools/FILE.py` in a clone is the same program.
COMMANDS = {
    'train': ('train', 'pre-train, fine-tune, detect or segment from a config'),
    'test': ('test', 'score a checkpoint by its config'),
    'predict': ('predict', 'draw what a detector or segmentor finds in new images'),
    'knn': ('knn', 'score a frozen encoder by k-nearest neighbours'),
    'probe': ('linear_probe', 'score a frozen encoder by a linear classifier on cached features'),
    'eval': ('linear_eval', "score a frozen encoder by the papers' linear protocols"),
    'embed': ('embed', 'write one vector per image'),
    'search': ('search', 'find the images near others, and duplicates'),
    'export': ('export', 'write an encoder for another library'),
    'inspect': ('inspect_checkpoint', 'list what a checkpoint holds, and whether it fits a config'),
    'visualize': ('visualize', 'draw attention, reconstructions, components, embeddings, neighbours'),
    'report': ('report', 'write one page about one or several trainings'),
    'check-data': ('check_data', 'read every image of a data set and name the damaged ones'),
    'toy-scenes': ('make_toy_scenes', 'make the toy data set'),
    'part-study': ('part_study', 'compare frozen encoders on parts and whole objects'),
    'retrieve': ('patch_retrieval', 'find the patches that an encoder takes for the same'),
    'ablate': ('ablation', "run the paper's ablations"),
    'bench': ('benchmarks/small', 'compare plain methods with RePre on photographs: bench small --data DIR'),
    'tables': ('paper_tables', "collect results into the paper's tables"),
}


def main() -> None:
    """Run the subcommand that the command line names."""
    parser = make_parser()
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        _check_stack()
        sys.argv = [f'{parser.prog} {sys.argv[1]}', *sys.argv[2:]]
        load_tool(sys.argv[0].split()[1], '__main__')
        return
    args = parser.parse_args()
    if args.command == 'doctor':
        from repre_mm import doctor

        sys.exit(doctor.main())
    if args.command == 'completion':
        from repre_mm.cli.completion import completion

        print(completion(args.shell))
        return
    parser.print_help()


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command itself; those of the subcommands are in their files."""
    parser = argparse.ArgumentParser(
        prog='repre', description='Reconstructive pre-training (RePre). `repre COMMAND --help` explains a command.'
    )
    parser.add_argument('--version', action='version', version=f'repre_mm {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    commands.add_parser('doctor', help='check this installation, and say what fixes it')
    shells = commands.add_parser('completion', help='print the completion script of a shell')
    shells.add_argument('shell', choices=['bash', 'zsh', 'tcsh'])
    return parser


def _check_stack() -> None:
    """End with one line where OpenMMLab's packages are missing or mixed; the doctor and --help work all the same."""
    from repre_mm.utils.stack import StackError, check_stack

    try:
        check_stack()
    except StackError as error:
        sys.exit(f'error: {error}')


def load_tool(command: str, name: str) -> ModuleType:
    """Run the file of a subcommand as the module ``name``: as ``'__main__'`` it does its work."""
    path = Path(__file__).resolve().parents[1] / '.mim' / 'tools' / f'{COMMANDS[command][0]}.py'
    module = ModuleType(name)
    module.__file__ = str(path)
    if name == '__main__':
        sys.modules[name] = module  # processes that it starts look there for what to import
    exec(SourceFileLoader(name, str(path)).get_code(name), module.__dict__)
    return module


if __name__ == '__main__':
    main()
