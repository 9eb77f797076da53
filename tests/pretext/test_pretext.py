"""Pretexts by name."""

import pytest

from gesso._discovery import UnknownNameError
from gesso.pretext import Pretext, create_pretext, list_pretexts, pretext_class
from tests.pretext._plain import Plain


def test_names_are_file_names():
    assert "ifp" in list_pretexts()
    assert all(issubclass(pretext_class(name), Pretext) for name in list_pretexts())


def test_options_win_over_the_preset():
    ifp = create_pretext("ifp", Plain(), preset="official_code", mask_ratio=0.9)
    assert (ifp.mask_ratio, ifp.geometry) == (0.9, "published")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ifpp", {}, "unknown pretext 'ifpp'; did you mean ifp"),
        ("ifp", {"mask_rate": 0.5}, "pretext ifp has no option 'mask_rate'; did you mean mask_ratio"),
        ("ifp", {"preset": "papers"}, "pretext ifp has no preset 'papers'; did you mean paper?"),
    ],
)
def test_did_you_mean(name, options, message):
    with pytest.raises(UnknownNameError, match=message):
        create_pretext(name, Plain(), **options)
