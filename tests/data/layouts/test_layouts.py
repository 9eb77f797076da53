from pathlib import Path

import pytest

from gesso.data.folders import find_images
from gesso.data.layouts import NoPairsError, find_pairs, find_photos, find_splits, find_unpaired
from gesso.data.names import match
from gesso.data.pairing import PairedByOrderWarning, pair_folders
from tests.data._trees import expand


def touch(root: Path, *files: str) -> Path:
    """Makes empty files: pairing looks at names only."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


RAIN13K = expand("train/Rain13K/{input,target}/7.jpg", "test/{Test100,Rain100L}/{input,target}/1.png")
GOPRO = expand("{train,test}/{GOPR01,GOPR02}/{blur,blur_gamma,sharp}/000001.png")
CROPS = expand("{train,val}/GoPro/{input_crops,target_crops}/b-1.png")
SIDD = expand("Data/{0001,0002}_001_S6/0001_{NOISY,GT}_SRGB_010.PNG")
DPDD = expand("test/DPDD/{inputL,inputR,inputC,target}/1.png")
SID = expand("{train,test}/short/0000{1,2}_{00,01}_0.1s.png", "{train,test}/long/0000{1,2}_00_10s.png")
DIV2K = expand(
    "DIV2K_{train,valid}_HR/0001.png", *(f"DIV2K_{{train,valid}}_LR_bicubic/X{s}/0001x{s}.png" for s in "24")
)
SETS = expand("{Set5,Set14}/HR/baby.png", "{Set5,Set14}/LR_bicubic/X4/babyx4.png")
LOL2 = ["Train/Low/low00001.png", "Train/Normal/normal00001.png"]
RESIDE = expand("SOTS/indoor/hazy/1400_{3,10}.png", "SOTS/outdoor/hazy/0001_0.8_0.2.jpg", "ITS/{hazy,gt}/1.png")
RESIDE += ["SOTS/indoor/gt/1400.png", "SOTS/outdoor/gt/0001.png"]

PUBLISHED = {  # the files, a split, and what it holds: name -> (lq, gt)
    "Rain100H": (expand("{input,target}/{1,10,2}.png"), "test", {n: (f"input/{n}.png", f"target/{n}.png") for n in "12"}
        | {"10": ("input/10.png", "target/10.png")}),
    "Rain13K": (RAIN13K, "train", {"7": ("train/Rain13K/input/7.jpg", "train/Rain13K/target/7.jpg")}),
    "Rain13K, test sets": (RAIN13K, "test", {
        f"test/{s}/1": (f"test/{s}/input/1.png", f"test/{s}/target/1.png") for s in ("Rain100L", "Test100")}),
    "GoPro raw": (GOPRO, "train", {
        f"train/GOPR{n}/000001": (f"train/GOPR{n}/blur/000001.png", f"train/GOPR{n}/sharp/000001.png")
        for n in ("01", "02")}),
    "GoPro, Restormer": (CROPS, "val", {"b-1": ("val/GoPro/input_crops/b-1.png", "val/GoPro/target_crops/b-1.png")}),
    "GoPro, Uformer": (expand("{train,test}/{input,groundtruth}/1.png"), "test", {
        "1": ("test/input/1.png", "test/groundtruth/1.png")}),
    "RealBlur": (expand("RealBlur_J/test/{input,target}/x.png"), "test", {
        "x": ("RealBlur_J/test/input/x.png", "RealBlur_J/test/target/x.png")}),
    "SIDD raw": (SIDD, "train", {
        f"Data/{n}_001_S6/0001_NOISY_SRGB_010": (
            f"Data/{n}_001_S6/0001_NOISY_SRGB_010.PNG", f"Data/{n}_001_S6/0001_GT_SRGB_010.PNG")
        for n in ("0001", "0002")}),
    "PolyU raw": (expand("Cropped/Canon_1_{real,mean}.JPG", "License.txt"), "test", {
        "Cropped/Canon_1_real": ("Cropped/Canon_1_real.JPG", "Cropped/Canon_1_mean.JPG")}),
    "DPDD": (DPDD, "test", {"1": ("test/DPDD/inputC/1.png", "test/DPDD/target/1.png")}),
    "LOL": (expand("our485/{low,high}/2.png", "eval15/{low,high}/1.png"), "test", {
        "1": ("eval15/low/1.png", "eval15/high/1.png")}),
    "LOL v2": (LOL2, "train", {"low00001": (LOL2[0], LOL2[1])}),
    "SID": (SID, "test", {
        f"0000{n}_{k}_0.1s": (f"test/short/0000{n}_{k}_0.1s.png", f"test/long/0000{n}_00_10s.png")
        for n in "12" for k in ("00", "01")}),
    "RESIDE": (RESIDE, "test", {
        "SOTS/indoor/1400_3": ("SOTS/indoor/hazy/1400_3.png", "SOTS/indoor/gt/1400.png"),
        "SOTS/indoor/1400_10": ("SOTS/indoor/hazy/1400_10.png", "SOTS/indoor/gt/1400.png"),
        "SOTS/outdoor/0001_0.8_0.2": ("SOTS/outdoor/hazy/0001_0.8_0.2.jpg", "SOTS/outdoor/gt/0001.png")}),
    "below the folder of a task": (expand("Datasets/test/Rain100L/{input,target}/1.png"), "test", {
        "1": ("Datasets/test/Rain100L/input/1.png", "Datasets/test/Rain100L/target/1.png")}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layouts_are_recognised(tmp_path, name):
    files, split, expected = PUBLISHED[name]
    pairs = find_pairs(touch(tmp_path, *files), split)
    assert {pair.name: (pair.lq, pair.gt) for pair in pairs} == {
        key: (tmp_path / lq, tmp_path / gt) for key, (lq, gt) in expected.items()
    }
    assert [pair.name for pair in pairs] == list(expected), "naturally sorted"


@pytest.mark.parametrize(
    ("lq", "gt"),
    [
        ("1400_3", "1400"),
        ("blur_01", "sharp_01"),
        ("Istanbul_blur1", "Istanbul_sharp1"),
        ("Canon_5_plant__4_real", "Canon_5_plant__4_mean"),
        ("babyx2", "baby"),
        ("img_001_x4", "img_001"),
        ("a2917-jmac_DSC3800_input", "a2917-jmac_DSC3800"),
        ("a3232-_DGW6397 input", "a3232-_DGW6397"),
        ("a0001-x_before", "a0001-x_after"),
        ("0001_NOISY_SRGB_010", "0001_GT_SRGB_010"),
        ("rain-001", "norain-001"),
        ("low00690", "normal00690"),
        ("901_14", "901"),
        ("scene/blur_3", "scene/sharp_3"),
    ],
)
def test_published_names_pair_among_others(lq, gt):
    def shift(name: str) -> str:
        return name.translate(str.maketrans("0123456789", "1234567890")).replace("baby", "bird")

    matches = match([lq, shift(lq)], [shift(gt), gt])
    assert matches == {lq: gt, shift(lq): shift(gt)}


def test_equal_names_win_over_every_other_rule():
    assert match(["1", "1_2", "1_3"], ["1_3", "1_2", "1"]) == {"1": "1", "1_2": "1_2", "1_3": "1_3"}
    assert match(["0001-1", "0002-1", "0003-1"], ["0001-1", "0002-1", "0003-2"]) == {
        "0001-1": "0001-1",
        "0002-1": "0002-1",
    }


def test_a_name_that_fits_two_partners_is_left_alone():
    assert match(["blur_1", "blurry_1"], ["sharp_1"]) == {}
    assert match(["a-1", "b-1"], ["a-2", "a-3", "b-2"]) == {"b-1": "b-2"}


def test_files_in_different_subfolders_do_not_pair(tmp_path):
    root = touch(tmp_path, "input/x/1.png", "input/y/1.png", "target/y/1.png", "target/z/1.png")
    assert [pair.name for pair in find_pairs(root)] == ["y/1"]


def test_hidden_files_and_other_files_are_no_images(tmp_path):
    root = touch(tmp_path, "input/1.png", "input/._1.png", "input/.x.tmp.png", "input/Thumbs.db", "target/1.jpg")
    assert [pair.name for pair in find_pairs(root)] == ["1"]
    assert find_images(root / "input") == [root / "input/1.png"]


def test_links_to_other_disks_are_followed_but_not_in_circles(tmp_path):
    elsewhere = touch(tmp_path / "disk", "1.png", "more/2.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "link").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(tmp_path / "photos")
    assert [photo.name for photo in find_photos(tmp_path / "photos")] == ["1.png", "2.png"]


def test_a_set_without_splits_serves_every_split(tmp_path):
    root = touch(tmp_path, "input/1.png", "target/1.png")
    assert find_splits(root) == []
    assert find_pairs(root, "train") == find_pairs(root, "val") == find_pairs(root, "test")


def test_splits_are_listed(tmp_path):
    root = touch(tmp_path, *(f"{split}/{side}/1.png" for split in ("eval15", "our485") for side in ("low", "high")))
    assert find_splits(root) == ["train", "test"]
    with pytest.raises(ValueError, match="no split 'val', only train, test"):
        find_pairs(root, "val")


def test_order_pairs_only_when_asked_and_warns(tmp_path):
    root = touch(tmp_path, "a/x2.png", "a/x10.png", "b/u.png", "b/v.png")
    with pytest.raises(ValueError, match=r"x2, x10.*u, v.*pair_by order"):
        find_pairs(lq=root / "a", gt=root / "b")
    with pytest.warns(PairedByOrderWarning, match="sorted order"):
        pairs = find_pairs(lq=root / "a", gt=root / "b", pair_by="order")
    assert [(pair.lq.name, pair.gt.name) for pair in pairs] == [("x2.png", "u.png"), ("x10.png", "v.png")]
    touch(root, "b/w.png")
    with pytest.raises(ValueError, match=r"equal counts: .*a has 2 images, .*b has 3"):
        pair_folders(root / "a", root / "b", "order")


def test_images_without_a_partner_are_listed(tmp_path):
    root = touch(tmp_path, *expand("input/{1,2,3}.png", "target/{2,3,4}.png", "target/notes.txt"))
    assert find_unpaired(find_pairs(root)) == [root / "input/1.png", root / "target/4.png"]


def test_two_sides_that_do_not_match_are_not_taken_for_clean_photos(tmp_path):
    root = touch(tmp_path, "input/1.png", "target/a.png")
    with pytest.raises(ValueError, match="no name") as error:
        find_pairs(root)
    assert not isinstance(error.value, NoPairsError)


def test_photos_are_all_images_or_those_of_a_split(tmp_path):
    flat = touch(tmp_path / "flat", "10.png", "2.jpg", "more/3.png")
    assert [photo.name for photo in find_photos(flat, "test")] == ["2.jpg", "10.png", "3.png"]
    divided = touch(tmp_path / "divided", "train/1.png", "test/2.png")
    assert find_photos(divided, "train") == [divided / "train/1.png"]
    with pytest.raises(ValueError, match="no images for val"):
        find_photos(divided, "val")
    with pytest.raises(NoPairsError, match=r"expected two folders .* found 2\.png, 10\.png; .* clean photos"):
        find_pairs(touch(tmp_path / "photos", "2.png", "10.png"))


@pytest.mark.parametrize("name", ["rain.png", "a real one.png"])
def test_a_word_in_a_photo_name_makes_no_pair(tmp_path, name):
    root = touch(tmp_path, name, "gt.png", *(f"{n}.png" for n in range(9)))
    with pytest.raises(NoPairsError):
        find_pairs(root)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], r"found no images \(PNG, JPEG, .* files are read"),
        (["images/1.png", "masks/1.png"], "for the photos alone give --data .*images; if all of them are clean photos"),
        (["input/1.png", "target/readme.txt"], "target: no images"),
        (["input/1.png", "input/2.png", "target/a.png"], r"no name of .*input \(1, 2\) matches one of .*target \(a\)"),
        (["input/1.png", "input/1.jpg", "target/1.png"], "have the same stem"),
        (["input/1.png", "rain/1.jpg", "target/1.png"], "too many sides; give lq and gt"),
    ],
)
def test_a_folder_without_pairs_says_what_is_there(tmp_path, files, message):
    with pytest.raises(ValueError, match=message):
        find_pairs(touch(tmp_path, *files))


def test_what_does_not_exist_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is a file, expected a folder"):
        find_pairs(touch(tmp_path, "x.png") / "x.png")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        pair_folders(tmp_path / "a", tmp_path / "b")


def test_names_of_options_are_checked(tmp_path):
    with pytest.raises(ValueError, match="did you mean train"):
        find_pairs(tmp_path, "trian")
    with pytest.raises(ValueError, match="did you mean folders"):
        find_pairs(tmp_path, layout="folder")
    for folders in ({}, {"lq": tmp_path}, {"root": tmp_path, "gt": tmp_path}):
        with pytest.raises(ValueError, match=r"either the root .* or both"):
            find_pairs(**folders)


def test_super_resolution_takes_the_folder_of_its_scale(tmp_path):
    div2k = touch(tmp_path / "DIV2K", *DIV2K)
    for split, named in (("train", "train"), ("val", "valid")):
        (pair,) = find_pairs(div2k, split, scale=4)
        assert (pair.name, pair.lq) == ("0001x4", div2k / f"DIV2K_{named}_LR_bicubic/X4/0001x4.png")
        assert pair.gt == div2k / f"DIV2K_{named}_HR/0001.png"
    assert find_photos(div2k, "train") == [div2k / "DIV2K_train_HR/0001.png"]
    sets = touch(tmp_path / "sets", *SETS)
    assert [pair.name for pair in find_pairs(sets, "test", scale=4)] == ["Set5/babyx4", "Set14/babyx4"]
    with pytest.raises(ValueError, match="scales 4, none for 3"):
        find_pairs(sets, "test", scale=3)
    older = touch(tmp_path / "older", "GTmod12/baby.png", "LRbicx3/baby.png")
    assert find_pairs(older, scale=3)[0].lq == older / "LRbicx3/baby.png"
