"""Every kind of image file that others write: read right, and the same again after a network that changes nothing."""

import numpy as np
import pytest

from gesso.data.io import read_image, read_picture
from tests.data._kinds import kinds

KINDS = kinds()


@pytest.mark.parametrize("name", KINDS)
def test_pixels_are_those_that_others_wrote(tmp_path, name):
    kind = KINDS[name]
    path = tmp_path / f"x{kind.suffix}"
    path.write_bytes(kind.data)
    picture = read_picture(path)
    expected = np.moveaxis(kind.pixels, 2, 0)
    channels = len(expected)
    assert picture.bits == kind.bits
    assert (picture.alpha is not None) == (channels in (2, 4))
    colours = expected[:1] if channels <= 2 else expected[:3]
    assert picture.grey == (channels <= 2) or "webp" in name
    most = max(kind.error, 1e-7)
    np.testing.assert_allclose(
        picture.pixels.numpy(), np.broadcast_to(colours, picture.pixels.shape), rtol=0, atol=most
    )
    if picture.alpha is not None:
        np.testing.assert_allclose(picture.alpha.numpy(), expected[-1], rtol=0, atol=most)
    np.testing.assert_array_equal(read_image(path), picture.pixels)
