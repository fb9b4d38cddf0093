"""Contact sheet of a set on disk."""

import cv2
import numpy as np

from repre_mm.toy_scenes.preview import contact_sheet


def test_contact_sheet_shows_every_class(root):
    sheet = contact_sheet(root)
    assert sheet.shape == (10 * 48 + 8 + 2 * (64 + 8), 6 * 96, 3)
    first = cv2.imread(str(root / 'cls/val/bird/bird_000000.jpg'))[..., ::-1]
    np.testing.assert_array_equal(sheet[:48, :48], first)
