"""What is taken for clean photos and what is not: `find_pairs` raises `NoPairsError` for the former alone."""

import re
import shlex
import warnings

import pytest

import gesso
from gesso.data.doubts import PhotosWarning
from gesso.data.layouts import LooksLikePairsError, NoPairsError, find_pairs, find_photos
from gesso.data.training_data import open_images
from tests.data._trees import expand, make, make_photos

REFUSED = {  # files; which folder is given; the guess: degraded images and ground truths
    "sides of any names": (expand("{foo,bar}/000{1,2}.png"), ".", ("bar", "foo")),
    "three of any names": (expand("{one,two,three}/{1,2}.png"), ".", ("one", "three")),
    "many inputs to one truth": (expand("foo/im_{1,2}_{a,b}.png", "bar/im_{1,2}.png"), ".", ("foo", "bar")),
    "letters": (expand("{A,B}/{1,2}.png"), ".", ("A", "B")),
    "stereo": (expand("{left,right}/{1,2}.png"), ".", ("left", "right")),
    "cameras": (expand("{iphone,canon}/{1,2}.png"), ".", ("canon", "iphone")),
    "splits of any sides": (expand("{train,test}/{foo,bar}/{1,2}.png"), ".", ("test/bar", "test/foo")),
    "scenes of any sides": (expand("scene{1,2,3}/{foo,bar}/{1,2}.png"), ".", ("scene1/bar", "scene1/foo")),
    "sequences of any sides": (expand("{foo,bar}/{s1,s2}/{1,2}.png"), ".", ("bar", "foo")),
    "data and another": (expand("{data,other}/{1,2}.png"), ".", ("data", "other")),
    "another and gt": (expand("other/{1,2}.png", "gt/{x,y,z}.png"), ".", ("other", "gt")),
    "raw and retouched": (expand("{raw,retouched}/{a1,a2}.png"), ".", ("raw", "retouched")),
    "several experts": (expand("{input,expertA,expertB}/{1,2}.png"), ".", ("input", "expertA")),
    "levels of noise": (expand("{noisy15,noisy25,original_png}/{1,2}.png"), ".", ("noisy15", "original_png")),
    "EUVP": (expand("Paired/underwater_dark/train{A,B}/{1,2}.png"), ".", ("Paired/underwater_dark/trainA", None)),
    "HIDE": (expand("{train,test}/{1,2}fromGOPRO.png", "GT/{1,2}fromGOPRO.png"), ".", ("test", "GT")),
    "LOL-Blur": (expand("train/{low_blur,low_blur_noise,high_sharp_scaled}/0001/{1,2}.png"), ".",
        ("train/low_blur", "train/high_sharp_scaled")),
    "inputs in the root": (expand("{a,b,c}.png", "gt/{a,b,c}.png"), ".", (".", "gt")),
    "one level too deep": (expand("pairs/{input,target}/{1,2}.png"), "pairs/input", ("pairs/input", "pairs/target")),
    "one split too deep": (expand("our485/{low,high}/{1,2}.png"), "our485/low", ("our485/low", "our485/high")),
    "one scene too deep": (expand("train/{a,b}/{blur,sharp}/{1,2}.png"), "train/a/blur",
        ("train/a/blur", "train/a/sharp")),
    "one side of sequences": (expand("train_{blur,sharp}/{0,1}/{1,2}.png"), "train_blur",
        ("train_blur", "train_sharp")),
    "a sequence of a side": (expand("train_{blur,sharp}/{0,1}/{1,2}.png"), "train_blur/1",
        ("train_blur/1", "train_sharp/1")),
    "a folder of both": (expand("x/{baby,bird}.png", "x/{baby,bird}x4.png"), ".", ("x", "x")),
    "a folder of many to one": (expand("kodim0{1,2}.png", "kodim0{1,2}_n{15,25}.png"), ".", (".", ".")),
    "two endings in one folder": (expand("x/000{1,2,3}_{foo,bar}.png"), ".", ("x", "x")),
    "two endings, dashed": (expand("{a,b}-{wet,dry}.jpg"), ".", (".", ".")),
    "GT-RAIN": (expand("train/G_0/G_0-Webcam-R-00{0,1,2}.png", "train/G_0/G_0-Webcam-C-000.png"), ".",
        ("train/G_0", "train/G_0")),
    "Snow100K's snow": (expand("all/{synthetic,gt,mask}/{1,2}.png"), "all/synthetic", ("all/synthetic", "all/gt")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_pairs_are_not_taken_for_photos(tmp_path, name):
    files, folder, guess = REFUSED[name]
    root = make(tmp_path / "root", *files) / folder
    with pytest.raises(LooksLikePairsError) as error:
        find_pairs(root)
    lq, gt = (tmp_path / "root" / side if side else None for side in guess)
    said = re.search(r"--lq (\S+) --gt (\S+?)[; ]", str(error.value))
    assert said is not None
    assert said[1] == str(lq)
    assert gt is None or said[2] == str(gt)
    assert "--layout photos" in str(error.value)
    assert "--degradation" in str(error.value)
    with pytest.raises(NoPairsError, match="as layout says"):
        find_pairs(root, layout="photos")
    with pytest.warns(PhotosWarning, match="are taken for photos"):
        assert find_photos(root, "train")


@pytest.mark.parametrize(
    ("files", "folder", "message"),
    [
        (expand("{images,masks}/{a,b}.png"), ".", "for the photos alone give --data .*images;"),
        (expand("{noisy15,noisy25}/{1,2}.png"), ".", "a folder is called noisy15, as degraded images are"),
        (["hazy/1.png"], "hazy", "the folder is called hazy, as degraded images are"),
        (["x/input/1.png"], "x", "a folder is called input, as degraded images are"),
    ],
)
def test_what_else_is_no_folder_of_photos(tmp_path, files, folder, message):
    with pytest.raises(LooksLikePairsError, match=message):
        find_pairs(make(tmp_path / "root", *files) / folder)


PHOTOS = {
    "flat": (expand("{a,b,c}.jpg"), "."),
    "BSDS500": (expand("images/{train,val,test}/{100080,100098}.jpg"), "."),
    "splits": (expand("{train,val,test}/{100080,100098}.jpg"), "."),
    "DIV2K": (expand("DIV2K_{train,valid}_HR/000{1,2}.png", "DIV2K_{train,valid}_LR_bicubic/X2/000{1,2}x2.png"), "."),
    "DIV2K's training images": (expand("DIV2K_train_HR/{1,2}.png", "DIV2K_train_LR_bicubic/X2/{1,2}x2.png"),
        "DIV2K_train_HR"),
    "Flickr2K": (expand("Flickr2K/Flickr2K_HR/{1,2}.png", "Flickr2K/Flickr2K_LR_bicubic/X4/{1,2}x4.png"), "."),
    "Flickr2K's images": (expand("Flickr2K/Flickr2K_HR/{1,2}.png", "Flickr2K/Flickr2K_LR_bicubic/X4/{1,2}x4.png"),
        "Flickr2K/Flickr2K_HR"),
    "Set5": (expand("Set5/{GTmod12,original,LRbicx2,LRbicx4}/{baby,bird}.png"), "."),
    "ImageNet": (["n01440764/n01440764_10.JPEG", "n01440764/n01440764_18.JPEG", "n01443537/n01443537_2.JPEG"], "."),
    "classes with equal counts": (expand("animals/{cat_1,cat_2}.jpg", "plants/{rose_1,rose_2}.jpg"), "."),
    "classes with equal names": (expand("{airplane,bird,cat,deer,dog}/000{1,2}.png"), "."),
    "a class": (expand("{airplane,bird,cat,deer,dog}/000{1,2}.png"), "cat"),
    "dates": (expand("2023-0{1,2,3}/IMG_000{1,2,3}.jpg"), "."),
    "a camera's folders": (expand("{100,101}CANON/IMG_000{1,2,3}.jpg"), "."),
    "albums": (["Wedding/IMG_1.jpg", "Wedding/IMG_2.jpg", "Rome/IMG_7.jpg", "Rome/IMG_8.jpg", "Rome/IMG_9.jpg"], "."),
    "albums with equal names": (expand("{Wedding,Rome}/IMG_000{1,2,3}.jpg"), "."),
    "albums in years": (["2021/summer/a.jpg", "2021/winter/b.jpg", "2022/spring/c.jpg", "d.jpg"], "."),
    "weather": (["rain/r1.jpg", "rain/r2.jpg", "sunny/s1.jpg", "snow/s8.jpg", "fog/f3.jpg"], "."),
    "clips": (expand("clip{1,2}/000{1,2}.png"), "."),
    "sequences": (expand("{bear,camel,dog,boat,bus}/0000{0,1}.jpg"), "."),
    "sets": (["Set12/01.png", "Set12/02.png", "BSD68/test001.png", "BSD68/test002.png", "Kodak24/kodim01.png"], "."),
    "a set beside others": (expand("{Set12,McMaster}/{1,2,3}.png"), "Set12"),
    "ground truths alone": (expand("gt/{1,2}.png"), "gt"),
    "clean images": (expand("clean/{1,2}.png"), "."),
    "what levels of noise were made of": (expand("{noisy15,noisy25,original_png}/{1,2}.png"), "original_png"),
    "a folder called data": (expand("data/{1,2}.png"), "data"),
    "copies": (expand("{beach,rock}.jpg", "{beach,rock}_{1,2}.jpg"), "."),
    "an edited one": (["a.jpg", "b.jpg", "b_edited.jpg", "c.jpg"], "."),
    "two words for different photos": (expand("{beach,rock}_{dawn,dusk}.jpg"), "."),
    "one word each": (expand("IMG_{beach,rock,cat,dog}.jpg"), "."),
    "numbered": (expand("photo-{1,2,3,4}.jpg", "scan-{1,2,3,4}.jpg"), "."),
    "two formats": (["a.jpg", "a.png", "b.jpg"], "."),
    "words in names": (["blurry_sunset.jpg", "sharp_rocks.jpg", "clean_beach.jpg", "rain_in_rome.jpg"], "."),
    "raw and others": (["raw/DSC1.jpg", "raw/DSC2.jpg", "family/x.jpg", "family/y.jpg", "family/z.jpg"], "."),
}  # fmt: skip


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_are_taken_for_photos(tmp_path, name):
    files, folder = PHOTOS[name]
    root = make_photos(tmp_path / "root", *files) / folder
    with pytest.raises(NoPairsError):
        find_pairs(root)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photos = find_photos(root)
    assert not [photo for photo in photos if re.search("LR_|LRbic|original/", str(photo))]
    wanted = len(files) if name in ("flat", "dates", "ImageNet", "albums in years", "weather", "two formats") else 1
    assert len(photos) >= wanted


def test_the_guess_for_one_folder_is_a_command_that_works(tmp_path):
    root = make(tmp_path, *expand("kodim0{1,2}.png", "kodim0{1,2}_n{15,25}.png"))
    with pytest.raises(LooksLikePairsError) as error:
        find_pairs(root)
    words = shlex.split(str(error.value).partition("for pairs give ")[2].partition(";")[0])
    options = {name[2:]: value for name, value in zip(words[::2], words[1::2], strict=True)}
    assert options == {"lq": str(root), "gt": str(root), "pair_by": "{gt}_n*"}
    assert [(pair.name, pair.gt.name) for pair in find_pairs(**options)] == [
        (f"kodim0{n}_n{level}", f"kodim0{n}.png") for n in (1, 2) for level in (15, 25)
    ]


def test_classes_that_are_called_as_sides_are_photos_where_the_user_says_so(tmp_path):
    root = make(tmp_path, *expand("rain/{r1,r2}.png", "clear/{c3,c4,c5}.png"))
    with pytest.raises(ValueError, match=r"(?s)no name .* clean photos, say so by --layout photos"):
        find_pairs(root)
    with pytest.raises(NoPairsError):
        find_pairs(root, layout="photos")


def test_ground_truths_beside_their_inputs_are_photos_and_it_is_said(tmp_path):
    root = make(tmp_path, *expand("{input,target}/{1,2}.png"))
    with pytest.raises(NoPairsError):
        find_pairs(root / "target")
    with pytest.warns(PhotosWarning, match="one side of pairs, as target and input beside it say"):
        assert len(find_photos(root / "target")) == 2


@pytest.mark.parametrize("name", REFUSED)
def test_pretraining_takes_no_pairs_for_photos_either(tmp_path, monkeypatch, name):
    """Degraded images among the photos would be what a pretext learns to make."""
    files, folder, _ = REFUSED[name]
    root = make(tmp_path / "root", *files) / folder
    with pytest.raises(ValueError, match=r"expected clean photos, but .* --layout photos"):
        open_images(root, seed=0)
    with pytest.raises(ValueError, match="expected clean photos"):
        gesso.pretrain(images=root, backbone="nafnet_tiny", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.warns(PhotosWarning, match="are taken for photos"):
        open_images(root, seed=0, layout="photos")
