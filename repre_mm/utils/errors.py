"""Messages of exceptions, without what loaders and Python wrap around them."""

from __future__ import annotations

import re


def plain_message(error: BaseException) -> str:
    """What an error says, without the traceback that torch puts before it when a loading process raised it."""
    # str() of a KeyError would put the message in quotes.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return re.sub(r'\ACaught \w+ in DataLoader worker process .*\n[\w.]+: ', '', text, flags=re.DOTALL).rstrip()
