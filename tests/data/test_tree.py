"""Pairs that are laid out otherwise: the message shows the tree that was found and the one that is expected."""

import pytest
from PIL import Image

from gesso import cli
from gesso.data.layouts import find_pairs
from gesso.data.tree import draw_tree


def put(root, *paths):
    """Small images of different content."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (20 * number, 9, 40)).save(root / path)
    return root


EXPECTED = """
expected, in any folder above or below:
  {0}/
    input/    degraded images: 1.png, 2.png, ...
    target/   their ground truths, of equal names: 1.png, 2.png, ..."""

ONE_TOO_DEEP = """
found:
  mine/
    input/   2 images: 1.png, 2.png
    target/   2 images: 1.png, 2.png"""

OTHER_FOLDERS = """
found:
  mine/
    bar/   2 images: 1.png, 2.png
    foo/   2 images: 1.png, 2.png"""

ONE_SIDE = """
found:
  mine/
    input/   1 image: 1.png"""

EMPTY = """
found:
  mine/
    notes/"""

PLAIN = ["input/1.png", "input/2.png", "target/1.png", "target/2.png"]


@pytest.mark.parametrize(
    ("files", "given", "found"),
    [
        (PLAIN, {"root": "mine/input"}, ONE_TOO_DEEP),
        (PLAIN, {"lq": "mine", "gt": "mine/target"}, ONE_TOO_DEEP),
        (PLAIN, {"lq": "mine", "gt": "mine"}, ONE_TOO_DEEP),
        (["foo/1.png", "foo/2.png", "bar/1.png", "bar/2.png"], {"root": "mine"}, OTHER_FOLDERS),
        (["input/1.png"], {"root": "mine"}, ONE_SIDE),
        ([], {"root": "mine"}, EMPTY),
    ],
)
def test_the_message_shows_the_tree_found_and_the_tree_expected(tmp_path, files, given, found):
    (tmp_path / "mine/notes" if not files else tmp_path).mkdir(parents=True, exist_ok=True)
    put(tmp_path / "mine", *files)
    with pytest.raises(ValueError, match=r"(?s)found:.*expected") as error:
        find_pairs(**{name: tmp_path / path for name, path in given.items()})
    assert found + EXPECTED.format("mine") in str(error.value)


def test_folders_of_other_names_than_said_are_drawn(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)folders before and after side by side.*  before/\n  after/$"):
        find_pairs(put(tmp_path, *PLAIN), lq="before", gt="after")


def test_names_that_do_not_match_are_drawn_as_they_are_and_as_they_should_be(tmp_path):
    put(tmp_path, "input/a1.png", "input/b2.png", "target/xx7.png", "target/yy9.png")
    with pytest.raises(ValueError, match="no name of") as error:
        find_pairs(lq=tmp_path / "input", gt=tmp_path / "target")
    rows = [line.removeprefix(f"  {tmp_path}/") for line in str(error.value).splitlines()[1:]]
    assert rows == [
        "found:", "input/   a1, b2", "target/  xx7, yy9",
        "expected, equal names:", "input/   xx7, yy9", "target/  xx7, yy9",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "sides", [("input", "target"), ("low", "high"), ("LQ", "GT"), ("rainy_images", "clean_images")]
)
def test_exchanged_sides_are_refused_with_the_right_order(tmp_path, sides):
    lq, gt = sides
    root = put(tmp_path, f"{lq}/1.png", f"{gt}/1.png")
    assert len(find_pairs(lq=root / lq, gt=root / gt)) == 1
    for given in ({"lq": root / gt, "gt": root / lq}, {"root": root, "lq": gt, "gt": lq}):
        with pytest.raises(ValueError, match="seem to be exchanged") as error:
            find_pairs(**given)
        assert f"expected:\n  lq  {root / lq}\n  gt  {root / gt}\n" in str(error.value)
    (tmp_path / "pairs.csv").write_text("1.png,1.png\n")
    assert len(find_pairs(lq=root / gt, gt=root / lq, pair_by=str(tmp_path / "pairs.csv"))) == 1


@pytest.mark.parametrize("sides", [("before", "after"), ("raw", "reference"), ("foo", "bar"), ("target", "mine")])
def test_sides_that_may_be_meant_are_taken(tmp_path, sides):
    root = put(tmp_path, f"{sides[0]}/1.png", f"{sides[1]}/1.png")
    assert len(find_pairs(lq=root / sides[0], gt=root / sides[1])) == 1


def test_a_large_tree_is_drawn_in_a_few_lines(tmp_path):
    put(tmp_path, *(f"{number}/a/b/c/d/{number}.png" for number in range(9)), *(f"0/{i}.png" for i in range(5)))
    (tmp_path / ".hidden").mkdir()
    lines = draw_tree(tmp_path)
    assert lines[1] == "    0/   5 images: 0.png, 1.png, 2.png, ..."
    assert lines[-1] == "    ... 3 more folders"
    assert sum(line.endswith("... 1 folders") for line in lines) == 6
    assert not any("hidden" in line for line in lines)


def test_on_the_command_line_it_is_bad_input_without_a_traceback(tmp_path, capsys):
    put(tmp_path / "mine", *PLAIN)
    words = f"finetune --task derain --data {tmp_path}/mine/input --backbone nafnet_tiny --steps 2 --out {tmp_path}/out"
    assert cli.main(words.split()) == 2
    error = capsys.readouterr().err
    assert "  mine/\n    input/   2 images: 1.png, 2.png\n" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
