"""The base class of errors that users can fix, and messages without what loaders and Python wrap around them."""

from __future__ import annotations

import re


class UserError(ValueError):
    """Something that the user gave is wrong: a path, an option, a config, a file.

    The message names the culprit and the fix. Commands print it as one line, without a traceback; an error of any
    other class is a bug, here or in a library, and keeps its traceback.
    """


def plain_message(error: BaseException) -> str:
    """Return the message of an error, without the traceback that torch puts before it in a loading process."""
    # str() of a KeyError would put the message in quotes.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return re.sub(r'\ACaught \w+ in DataLoader worker process .*\n[\w.]+: ', '', text, flags=re.DOTALL).rstrip()
