"""The font of pictures."""

from repre_mm.visualization.text import letters


def test_letters_know_names_and_signs_of_many_languages():
    unknown = bytes(letters(14).getmask('\uffff'))
    assert all(bytes(letters(14).getmask(sign)) != unknown for sign in '≤≥…±üñøłΩж')
