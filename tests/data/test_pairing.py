"""Pairs that a user describes: by a template, by a list, by the names of two folders."""

import pytest

from gesso.commands._test_sets import SetOptions, open_test_sets
from gesso.comparison.splits import open_folds
from gesso.data.doubts import PhotosWarning
from gesso.data.layouts import LooksLikePairsError, find_pairs, find_splits
from gesso.data.pairing import pair_folders, read_list
from gesso.data.training_data import DataOptions, open_training_data
from gesso.tasks import find_task
from tests.data._trees import expand, make


def found(pairs, root):
    return {str(pair.lq.relative_to(root)): str(pair.gt.relative_to(root)) for pair in pairs}


# ----------------------------------------------------------------------------------------------------- templates


def test_a_template_pairs_many_inputs_to_one_truth(tmp_path):
    make(tmp_path, *expand("a/im_{1,12}_s{80,85}.png", "a/im_1_t80.png", "b/im_{1,12}.png"))
    pairs = pair_folders(tmp_path / "a", tmp_path / "b", "{gt}_s*")
    assert found(pairs, tmp_path) == {f"a/im_{n}_s{s}.png": f"b/im_{n}.png" for n in (1, 12) for s in (80, 85)}
    assert find_pairs(lq=tmp_path / "a", gt=tmp_path / "b", pair_by="{gt}_s*.png") == pairs, "with a suffix, too"


def test_a_template_pairs_within_folders_that_are_known_and_within_one_folder(tmp_path):
    known = make(tmp_path / "known", *expand("{train,test}/input/{1,2}+z.png", "{train,test}/target/{1,2}.png"))
    assert [pair.name for pair in find_pairs(known, "test", pair_by="{gt}+z")] == ["1+z", "2+z"]
    flat = make(tmp_path / "flat", *expand("{1,2}.png", "{1,2}+z.png", "readme.png"))
    assert found(find_pairs(flat, pair_by="{gt}+z"), flat) == {"1+z.png": "1.png", "2+z.png": "2.png"}


def test_a_template_that_fits_nothing_says_what_it_expected(tmp_path):
    make(tmp_path, "a/1x2.png", "b/1.png")
    with pytest.raises(ValueError, match=r"pair_by \{gt\}x4: no name of .*a \(1x2\) .* expected names such as 1x4"):
        pair_folders(tmp_path / "a", tmp_path / "b", "{gt}x4")


@pytest.mark.parametrize("wrong", ["stme", "name", "pairs.csv", "x*", "some/list.txt"])
def test_what_is_neither_word_nor_template_nor_file_is_refused(tmp_path, wrong):
    make(tmp_path, "input/1.png", "target/1.png")
    with pytest.raises(ValueError, match=r"pair_by: expected stem, order, a template with \{gt\}"):
        find_pairs(tmp_path, pair_by=wrong)


# --------------------------------------------------------------------------------------------------------- lists

TREE = [*expand("x/{p,q}.png", "y/{1,2}.png"), "with space/a b.png"]
BOTH = {"x/p.png": "y/2.png", "x/q.png": "y/1.png"}


@pytest.mark.parametrize(
    "text",
    [
        "x/p.png,y/2.png\nx/q.png,y/1.png\n",
        "input,gt\nx/p.png,y/2.png\nx/q.png,y/1.png\n",
        "gt,lq\ny/2.png,x/p.png\ny/1.png,x/q.png\n",
        "degraded,clean\nx/p.png,y/2.png\nx/q.png,y/1.png\n",
        "lq_path,gt_path\nx/p.png,y/2.png\nx/q.png,y/1.png\n",
        "first,second\nx/p.png,y/2.png\nx/q.png,y/1.png\n",
        "set,gt,input,psnr\ntrain,y/2.png,x/p.png,20\ntrain,y/1.png,x/q.png,30\n",
        "\ufeffx/p.png;y/2.png\r\nx/q.png;y/1.png\r\n",
        "# made by hand\n\nx/p.png\ty/2.png\n\nx/q.png\ty/1.png",
        "x/p.png y/2.png\nx/q.png y/1.png\n",
        '"x/p.png", "y/2.png"\n"x/q.png", "y/1.png"\n',
        "x\\p.png,y\\2.png\nx\\q.png,y\\1.png\n",
    ],
)
def test_lists_of_two_columns_in_every_spelling(tmp_path, text):
    root = make(tmp_path / "root", *TREE)
    file = tmp_path / "pairs.csv"
    file.write_bytes(text.encode())
    assert found(find_pairs(root, pair_by=str(file)), root) == BOTH
    absolute = tmp_path / "absolute.txt"
    absolute.write_text(f"{root}/x/p.png\t{root}/with space/a b.png\n")
    assert found(find_pairs(root, pair_by=str(absolute)), root) == {"x/p.png": "with space/a b.png"}


def test_a_list_beside_two_folders_names_files_in_each(tmp_path):
    make(tmp_path, *TREE)
    (tmp_path / "pairs.csv").write_text("p.png,2.png\nq.png,2.png\n")
    pairs = pair_folders(tmp_path / "x", tmp_path / "y", str(tmp_path / "pairs.csv"))
    assert found(pairs, tmp_path) == {"x/p.png": "y/2.png", "x/q.png": "y/2.png"}, "many inputs to one truth"


def test_a_list_is_divided_as_its_folders_are(tmp_path):
    root = make(tmp_path / "root", *expand("{train,test}/{foo,bar}/{1,2}.png"))
    (tmp_path / "all.csv").write_text(
        "".join(f"{s}/foo/{n}.png,{s}/bar/{3 - n}.png\n" for s in ("train", "test") for n in (1, 2))
    )
    pairs = find_pairs(root, "test", pair_by=str(tmp_path / "all.csv"))
    assert found(pairs, root) == {"test/foo/1.png": "test/bar/2.png", "test/foo/2.png": "test/bar/1.png"}


@pytest.mark.parametrize("line", ["{}.png (480,480,3)", "{}.png", "target/{}.png (4,4,1)", "{}"])
def test_meta_files_of_basicsr_choose_among_pairs(tmp_path, line):
    root = make(tmp_path / "root", *expand("{input,target}/000{1,2}_s001.png"))
    (tmp_path / "meta_info.txt").write_text(line.format("0002_s001") + "\n")
    for how in ({"root": root}, {"lq": root / "input", "gt": root / "target"}):
        pairs = find_pairs(**how, pair_by=str(tmp_path / "meta_info.txt"))
        assert [pair.name for pair in pairs] == ["0002_s001"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("x/p.png,y/9.png\n", r"y/9.png: no such file, which the list"),
        ("x/p.png,y/1.png\nx/p.png,y/2.png\n", "x/p is listed twice"),
        ("x/p.png,y/1.png\nx/q.png\n", r"line 2: expected 2 names, got x/q.png"),
        ("x/p.png,y/1.png,z\n", "expected two columns, input and ground truth, got 3"),
        ("a,b,c\nx/p.png,y/1.png,z\n", "which column is which"),
        ("gt/1.png,blur/1.png\n", "the first column seems to hold ground truths"),
        ("1_clean.png 1_noisy.png\n", "the first column seems to hold ground truths"),
        ("nine.png (4,4,3)\n", "1 of 1 listed images have no pair: nine"),
    ],
)
def test_lists_that_are_wrong_say_where(tmp_path, text, message):
    root = make(tmp_path / "root", *TREE, *expand("{input,target}/1.png"))
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_pairs(root, pair_by=str(tmp_path / "pairs.csv"))


def test_rows_of_a_list_are_strings_as_they_stand(tmp_path):
    (tmp_path / "pairs.csv").write_text("lq,gt\n1.png,2.png\n")
    assert read_list(tmp_path / "pairs.csv") == [("1.png", "2.png")]


# --------------------------------------------------------------------------------------------- names of folders


def test_folders_of_any_names_are_sides_where_the_user_says_so(tmp_path):
    root = make(tmp_path, *expand("{train,test}/scene{1,2}/{foo,bar}/{1,2}.png"))
    pairs = find_pairs(root, "test", lq="foo", gt="bar")
    assert [(pair.name, pair.gt.parent.name) for pair in pairs] == [
        (f"test/scene{s}/{n}", "bar") for s in (1, 2) for n in (1, 2)
    ]
    assert find_splits(root) == ["train", "test"]
    with pytest.raises(ValueError, match="expected folders foo and baz side by side"):
        find_pairs(root, lq="foo", gt="baz")
    with pytest.raises(ValueError, match="beside a root: their names"):
        find_pairs(root, lq=root / "foo", gt=root / "bar")


# ------------------------------------------------------------------------------------------- as the verbs use them


def counts(root, **options):
    data = open_training_data(find_task("derain"), DataOptions(data=root, **options))
    return len(data.train), len(data.validation)


def test_training_takes_templates_lists_and_names_of_folders_for_all_splits(tmp_path):
    root = make(
        tmp_path / "root",
        *expand("{train,test}/foo/im_{1,2,3}_s{80,85}.png", "{train,test}/bar/im_{1,2,3}.png"),
    )
    assert counts(root, lq="foo", gt="bar", pair_by="{gt}_s*") == (6, 6)
    assert counts(root, lq="foo", gt="bar", pair_by="{gt}_s80") == (3, 3)
    rows = ["train/foo/im_1_s80.png,train/bar/im_1.png", "test/foo/im_2_s80.png,test/bar/im_2.png"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    assert counts(root, pair_by=str(tmp_path / "pairs.csv")) == (1, 1)
    (fold,) = open_folds(None, lq=root / "train/foo", gt=root / "train/bar", pair_by="{gt}_s*", folds=2)[:1]
    assert len(fold.train) + len(fold.test) == 6
    (fold,) = open_folds(root, lq="foo", gt="bar", pair_by="{gt}_s*")
    assert (len(fold.train), len(fold.test)) == (6, 6)
    (one,) = open_test_sets(SetOptions(task="derain", data=str(root), lq="foo", gt="bar", pair_by="{gt}_s*"), None)
    assert len(one.images) == 6


def test_another_set_to_measure_on_need_not_fit_the_template_or_the_list(tmp_path):
    make(tmp_path, *expand("data/input/{1,2}_x.png", "data/target/{1,2}.png", "val/{input,target}/{1,2,3}.png"))
    (tmp_path / "pairs.csv").write_text("input/1_x.png,target/1.png\n")
    assert counts(tmp_path / "data", val=tmp_path / "val", pair_by="{gt}_x") == (2, 3)
    assert counts(tmp_path / "data", val=tmp_path / "val", pair_by=str(tmp_path / "pairs.csv")) == (1, 3)


def test_a_set_to_measure_on_may_have_but_a_test_split(tmp_path):
    """As the recipe of DCPT's ten tasks has it: Snow100K and CSD, LOL-v2 and LOL."""
    snow = make(tmp_path / "Snow100K", *expand("Snow100K-training/all/{gt,mask,synthetic}/a_{1,2}.jpg"))
    csd = make(tmp_path / "CSD", *expand("{Train,Test}/{Gt,Mask,Snow}/{1,2,3}.tif"))
    lol = make(tmp_path / "LOL", *expand("our485/{low,high}/{1,2}.png", "eval15/{low,high}/1.png"))
    assert counts(snow, val=csd) == (2, 3)
    assert counts(lol, val=lol) == (2, 1)


def test_photos_that_look_like_pairs_are_taken_where_the_user_says_so(tmp_path):
    root = make(tmp_path / "root", *expand("{foo,bar}/{1,2}.png"))
    with pytest.raises(LooksLikePairsError):
        counts(root)
    for said in ({"layout": "photos"}, {"degradation": "rain"}):
        with pytest.warns(PhotosWarning, match="all 4 images are taken for photos, though bar .* and foo"):
            assert sum(counts(root, **said)) == 4
    photos = make(tmp_path / "photos", *expand("{a,b,c}.png"))
    with pytest.raises(LooksLikePairsError):
        counts(photos, val=root)
    with pytest.warns(PhotosWarning):
        assert counts(photos, val=root, layout="photos") == (3, 4)
