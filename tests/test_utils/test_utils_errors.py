"""Messages of errors, without what loading processes and Python wrap around them."""

from repre_mm.utils.errors import plain_message


def test_messages_of_loading_processes_keep_their_lines():
    error = ValueError(
        'Caught DatasetError in DataLoader worker process 1.\nOriginal Traceback (most recent call last):'
        '\n  File "x.py", line 1\nrepre_mm.datasets.DatasetError: two are bad:\n  a.png: empty\n  b.png: no'
    )
    assert plain_message(error) == 'two are bad:\n  a.png: empty\n  b.png: no'
    assert plain_message(KeyError('no such key')) == 'no such key'
    assert plain_message(ValueError('Error: of the user')) == 'Error: of the user'
