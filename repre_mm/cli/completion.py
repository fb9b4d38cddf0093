"""Shell completion of the ``repre`` command, made by shtab from the parsers of all subcommands."""

from __future__ import annotations

import argparse
from unittest import mock

import shtab

from repre_mm.cli.main import COMMANDS, load_tool, make_parser

# What is completed with files, by the name of the argument.
_FILES = ('config', 'checkpoint', 'out', 'data', 'work_dir', 'pretrained', 'init_from', 'work_dirs', 'folder')


class _Parser(Exception):  # noqa: N818
    """Carries the parser of a tool out of its main function."""


def completion(shell: str) -> str:
    """Completion script for bash, zsh or tcsh."""
    parser = make_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name in COMMANDS:
        tool = _parser_of(name)
        for action in tool._actions:
            if action.dest in _FILES:
                action.complete = shtab.FILE
        commands._name_parser_map[name] = tool
    return shtab.complete(parser, shell)


def _parser_of(name: str) -> argparse.ArgumentParser:
    def give(self: argparse.ArgumentParser, *args: object) -> None:
        raise _Parser(self)

    names = ('parse_args', 'parse_intermixed_args', 'parse_known_args', 'parse_known_intermixed_args')
    with mock.patch.multiple(argparse.ArgumentParser, **dict.fromkeys(names, give)):
        try:
            load_tool(name, f'repre_{name}').main()
        except _Parser as found:
            parser = found.args[0]
    parser.prog = f'repre {name}'
    return parser
