"""Data sets in the trees and under the names with which their authors publish them."""

import os
import re

import pytest

from gesso.data.image_ref import Views
from gesso.data.layouts import find_pairs, find_scales, find_splits, find_unpaired
from tests.data._trees import expand, make


def swap(*words: str):
    """The ground truth's path made of the input's, by pairs of a pattern and what takes its place."""

    def truth(path: str) -> str:
        for pattern, other in zip(words[::2], words[1::2], strict=True):
            path = re.sub(pattern, other, path)
        return path

    return truth


SNOW = "media/jdway/GameSSD/overlapping/test/Snow100K"  # as the archive unpacks
SCALES = [file for s in "234" for file in expand(f"{{Canon,Nikon}}/{{Train,Test}}/{s}/Canon_001_{{HR,LR{s}}}.png")]
DREALSR = [
    file
    for s in "234"
    for split in ("Train", "Test")
    for file in (f"{split}_x{s}/{split.lower()}_HR/DSC_1_x1.png", f"{split}_x{s}/{split.lower()}_LR/DSC_1_x{s}.png")
]
RCAN = [
    file
    for s in "24"
    for name in ("Set5", "B100")
    for file in (f"HR/{name}/x{s}/baby_HR_x{s}.png", f"LR/LRBI/{name}/x{s}/baby_LRBI_x{s}.png")
]

TREES = {  # files; a split; a scale; the inputs of that; the ground truth of each
    "Snow100K, training": (
        expand("Snow100K-training/all/{gt,mask,synthetic}/beautiful_smile_0000{1,2}.jpg", "realistic/snow_1.jpg"),
        "train", 1, expand("Snow100K-training/all/synthetic/beautiful_smile_0000{1,2}.jpg"), swap("synthetic", "gt")),
    "Snow100K, test": (
        expand(SNOW + "-{S,M,L}/{gt,mask,synthetic}/city_1.jpg"),
        "test", 1, expand(SNOW + "-{L,M,S}/synthetic/city_1.jpg"), swap("synthetic", "gt")),
    "CSD": (expand("{Train,Test}/{Gt,Mask,Snow}/{1,2}.tif"), "test", 1,
        expand("Test/Snow/{1,2}.tif"), swap("Snow", "Gt")),
    "DPDD": (
        expand("{train,val,test}_c/source/1P0A09{17,19}.png", "{train,val,test}_c/target/1P0A09{16,18}.png",
               "{train,val,test}_{l,r}/source/1P0A0917.png"),
        "val", 1, expand("val_c/source/1P0A09{17,19}.png"), swap("source", "target", "17", "16", "19", "18")),
    "REDS": (expand("train/train_{blur,sharp}/00{0,1}/0000000{0,1}.png", "val/val_{blur,sharp}/000/00000000.png"),
        "train", 1, expand("train/train_blur/00{0,1}/0000000{0,1}.png"), swap("blur", "sharp")),
    "REDS, unpacked side by side": (expand("{train,val}_{blur,sharp}/000/0000000{0,1}.png"),
        "val", 1, expand("val_blur/000/0000000{0,1}.png"), swap("blur", "sharp")),
    "REDS, blurred and compressed": (expand("train/train_{blur_jpeg,sharp}/000/0000000{0,1}.png"),
        "train", 1, expand("train/train_blur_jpeg/000/0000000{0,1}.png"), swap("blur_jpeg", "sharp")),
    "REDS, small": (expand("train/train_{sharp,sharp_bicubic/X4}/000/0000000{0,1}.png"),
        "train", 4, expand("train/train_sharp_bicubic/X4/000/0000000{0,1}.png"), swap("_bicubic/X4", "")),
    "RealSR": (SCALES, "test", 3, expand("{Canon,Nikon}/Test/3/Canon_001_LR3.png"), swap("LR3", "HR")),
    "RealSR, by split": (expand("{train,test}_x4/{HR,LR}/Canon_{1,2}.png"),
        "test", 4, expand("test_x4/LR/Canon_{1,2}.png"), swap("/LR", "/HR")),
    "DRealSR": (DREALSR, "train", 4, ["Train_x4/train_LR/DSC_1_x4.png"], swap("LR", "HR", "x4.png", "x1.png")),
    "Outdoor-Rain": (
        expand("train/in/im_000{1,2}_s{80,85,90,95,100}_a0{4,5,6}.png", "train/gt/im_000{1,2}.png"), "train", 1,
        expand("train/in/im_000{1,2}_s{80,85,90,95,100}_a0{4,5,6}.png"), swap("/in/", "/gt/", r"_s\d+_a\d+", "")),
    "RainDrop": (expand("{train,test_a,test_b}/data/{0,1}_rain.png", "{train,test_a,test_b}/gt/{0,1}_clean.png"),
        "train", 1, expand("train/data/{0,1}_rain.png"), swap("data", "gt", "rain.png", "clean.png")),
    "RainDrop, test": (expand("{train,test_a,test_b}/data/0_rain.png", "{train,test_a,test_b}/gt/0_clean.png"),
        "test", 1, expand("test_{a,b}/data/0_rain.png"), swap("data", "gt", "rain.png", "clean.png")),
    "Rain1400": (
        expand("rainy_image_dataset/{training,testing}/rainy_image/90{1,2}_{1,2,14}.jpg",
               "rainy_image_dataset/{training,testing}/ground_truth/90{1,2}.jpg"),
        "test", 1, expand("rainy_image_dataset/testing/rainy_image/90{1,2}_{1,2,14}.jpg"),
        swap("rainy_image/", "ground_truth/", r"_\d+\.", ".")),
    "Rain100H of 2017": (
        expand("rain_heavy_test/rain/X2/norain-00{1,2}x2.png", "rain_heavy_test/norain/norain-00{1,2}.png"),
        "test", 1, expand("rain_heavy_test/rain/X2/norain-00{1,2}x2.png"), swap("/rain/X2", "/norain", "x2", "")),
    "RainTrainL": (
        expand("rain_data_train_Light/rain/rain-{1,2}.png", "rain_data_train_Light/norain/norain-{1,2}.png",
               "rain_data_train_Light/rainstreak/rainstreak-{1,2}.png"),
        "train", 1, expand("rain_data_train_Light/rain/rain-{1,2}.png"), swap("/rain", "/norain")),
    "SPA-data": (expand("real_test_1000/rain/00{0,1}.png", "real_test_1000/gt/00{0,1}gt.png"),
        "test", 1, expand("real_test_1000/rain/00{0,1}.png"), swap("rain", "gt", ".png", "gt.png")),
    "UIEB": (expand("{raw,reference}-890/{2_img_,5}.png", "challenging-60/1.png"),
        "train", 1, expand("raw-890/{2_img_,5}.png"), swap("raw", "reference")),
    "ISTD": (expand("train/train_{A,B,C}/1-{1,2}.png", "test/test_{A,B,C}/9-1.png"),
        "train", 1, expand("train/train_A/1-{1,2}.png"), swap("_A", "_C")),
    "ISTD, adjusted": (expand("train/train_{A,B,C_fixed_ours}/1-{1,2}.png", "test/test_{A,B,C_fixed_official}/9-1.png"),
        "test", 1, ["test/test_A/9-1.png"], swap("_A", "_C_fixed_official")),
    "SRD": (
        expand("{Train,Test}/{shadow,mask}/_MG_2{1,2}.jpg", "{Train,Test}/shadow_free/_MG_2{1,2}_no_shadow.jpg"),
        "train", 1, expand("Train/shadow/_MG_2{1,2}.jpg"), swap("shadow", "shadow_free", ".jpg", "_no_shadow.jpg")),
    "RENOIR": (
        expand("{Mi3,S90}_Aligned/Batch_00{1,2}/IMG_20160202_015{247,300}Noisy.bmp",
               "{Mi3,S90}_Aligned/Batch_00{1,2}/IMG_20160202_015{216Reference,223full}.bmp"),
        "train", 1, expand("{Mi3,S90}_Aligned/Batch_00{1,2}/IMG_20160202_015{247,300}Noisy.bmp"),
        swap("015.*", "015216Reference.bmp")),
    "PolyU": (expand("CroppedImages/Canon5D2_5_160_3200_plug_{11,12}_{real,mean}.JPG"),
        "train", 1, expand("CroppedImages/Canon5D2_5_160_3200_plug_{11,12}_real.JPG"), swap("real", "mean")),
    "OTS of RESIDE": (
        expand("OTS/haze/part1/000{5,6}_0.8_0.{04,06}.jpg", "OTS/haze/part2/9000_1_0.1.jpg",
               "OTS/clear/clear/{0005,0006,9000}.jpg"),
        "train", 1, expand("OTS/haze/part1/000{5,6}_0.8_0.{04,06}.jpg", "OTS/haze/part2/9000_1_0.1.jpg"),
        swap("haze/part.", "clear/clear", r"_[\d.]+_[\d.]+\.jpg", ".jpg")),
    "AirNet's": (
        expand("Train/Dehaze/synthetic/part1/000{5,6}_0.8_0.04.jpg", "Train/Dehaze/original/000{5,6}.jpg"),
        "train", 1, expand("Train/Dehaze/synthetic/part1/000{5,6}_0.8_0.04.jpg"),
        swap("synthetic/part1", "original", "_0.8_0.04", "")),
    "HSTS": (expand("synthetic/{synthetic,original}/{0586,1381}.jpg"),
        "test", 1, expand("synthetic/synthetic/{0586,1381}.jpg"), swap("synthetic/synthetic", "synthetic/original")),
    "O-HAZE": (expand("# O-HAZY/hazy/0{1,2}_outdoor_hazy.jpg", "# O-HAZY/GT/0{1,2}_outdoor_GT.jpg"),
        "test", 1, expand("# O-HAZY/hazy/0{1,2}_outdoor_hazy.jpg"), swap("/hazy", "/GT", "_hazy", "_GT")),
    "NH-HAZE": (expand("0{1,2}_{hazy,GT}.png"), "test", 1, expand("0{1,2}_hazy.png"), swap("hazy", "GT")),
    "Haze4K": (expand("{train,test}/haze/{1,2}_0.67_1.22.png", "{train,test}/{gt,trans}/{1,2}.png"),
        "train", 1, expand("train/haze/{1,2}_0.67_1.22.png"), swap("haze", "gt", "_0.67_1.22", "")),
    "RealBlur as published": (expand("RealBlur-J_ECC/scene00{1,2}/{blur/blur,gt/gt}_{1,2}.png"),
        "test", 1, expand("RealBlur-J_ECC/scene00{1,2}/blur/blur_{1,2}.png"), swap("blur", "gt")),
    "BSD": (expand("{train,valid,test}/00{0,1}/{Blur,Sharp}/RGB/00000000.png"),
        "val", 1, expand("valid/00{0,1}/Blur/RGB/00000000.png"), swap("Blur", "Sharp")),
    "LFDOF": (expand("{train,test}_data/input/IMG_{1,2}/{1,2,3}.png", "{train,test}_data/ground_truth/IMG_{1,2}.png"),
        "test", 1, expand("test_data/input/IMG_{1,2}/{1,2,3}.png"), swap("input", "ground_truth", r"/\d\.png", ".png")),
    "RealDOF": (expand("{source,target}/{0,1}.png"), "test", 1, expand("source/{0,1}.png"), swap("source", "target")),
    "UHD-LL": (expand("{training_set,testing_set}/{input,gt}/{1,2}_UHD.JPG"),
        "test", 1, expand("testing_set/input/{1,2}_UHD.JPG"), swap("input", "gt")),
    "a file for each side of a scene": (expand("scene{1,2,3}/{noisy,gt}.png"),
        "train", 1, expand("scene{1,2,3}/noisy.png"), swap("noisy", "gt")),
    "splits in the names of the sides": (expand("{train,test}_{hazy,gt}/{1,2}.png"),
        "test", 1, expand("test_hazy/{1,2}.png"), swap("hazy", "gt")),
    "two sets in the names of the sides": (expand("{GoPro,HIDE}_{blur,sharp}/{1,2}.png"),
        "test", 1, expand("{GoPro,HIDE}_blur/{1,2}.png"), swap("blur", "sharp")),
    "DIV2K, mild": (expand("DIV2K_train_HR/000{1,2}.png", "DIV2K_train_LR_mild/000{1,2}x4m.png"),
        "train", 4, expand("DIV2K_train_LR_mild/000{1,2}x4m.png"), swap("LR_mild", "HR", "x4m", "")),
    "DIV2K, wild": (expand("DIV2K_train_HR/000{1,2}.png", "DIV2K_train_LR_wild/000{1,2}x4w{1,2}.png"),
        "train", 4, expand("DIV2K_train_LR_wild/000{1,2}x4w{1,2}.png"), swap("LR_wild", "HR", "x4w.", "")),
    "DIV2K, in pieces as BasicSR cuts it": (
        expand("DIV2K_train_HR_sub/0001_s00{1,2}.png", "DIV2K_train_LR_bicubic/X{2,4}_sub/0001_s00{1,2}.png"),
        "train", 4, expand("DIV2K_train_LR_bicubic/X4_sub/0001_s00{1,2}.png"), swap("LR_bicubic/X4", "HR")),
    "Flickr2K": (
        expand("Flickr2K_HR/00000{1,2}.png", *(f"Flickr2K_LR_bicubic/X{s}/00000{{1,2}}x{s}.png" for s in "24")),
        "train", 2, expand("Flickr2K_LR_bicubic/X2/00000{1,2}x2.png"), swap("LR_bicubic/X2", "HR", "x2", "")),
    "Set5 with all that belongs to it": (expand("Set5/{GTmod12,original,LRbicx2,LRbicx3,LRbicx4}/{baby,bird}.png"),
        "test", 3, expand("Set5/LRbicx3/{baby,bird}.png"), swap("LRbicx3", "GTmod12")),
    "Set5 of SelfExSR": (
        expand("Set5/image_SRF_2/img_00{1,2}_SRF_2_{HR,LR,bicubic,nearest,SRCNN,glasner,kim,ScSR,A+}.png",
               "Set5/image_SRF_4/img_00{1,2}_SRF_4_{HR,LR}.png"),
        "test", 2, expand("Set5/image_SRF_2/img_00{1,2}_SRF_2_LR.png"), swap("LR", "HR")),
    "test sets of RCAN": (RCAN, "test", 4, expand("LR/LRBI/{Set5,B100}/x4/baby_LRBI_x4.png"),
        swap("LR/LRBI", "HR", "LRBI", "HR")),
    "T91 by scales": (expand("LRbicx{3,4}/{inputs,target}/t{1,2}.png"),
        "train", 4, expand("LRbicx4/inputs/t{1,2}.png"), swap("inputs", "target")),
    "a folder for each scale": (expand("Set5/{2,3,4}/{HR,LR}/{baby,bird}.png"),
        "test", 3, expand("Set5/3/LR/{baby,bird}.png"), swap("LR", "HR")),
    "hr_images and lr_images": (expand("Set5/{hr,lr}_images/{baby,bird}.png"),
        "test", 4, expand("Set5/lr_images/{baby,bird}.png"), swap("lr_", "hr_")),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_published_trees_are_recognised(tmp_path, name):
    files, split, scale, inputs, truth = TREES[name]
    pairs = find_pairs(make(tmp_path, *files), split, scale=scale)
    found = {os.fspath(pair.lq.relative_to(tmp_path)): os.fspath(pair.gt.relative_to(tmp_path)) for pair in pairs}
    assert found == {lq: truth(lq) for lq in inputs}
    assert len({pair.name for pair in pairs}) == len(pairs), "no two pairs are called alike"
    assert "RENOIR" in name or "SelfExSR" in name or find_unpaired(pairs) == []


@pytest.mark.parametrize("name", TREES)
def test_splits_and_scales_of_published_trees_are_known(tmp_path, name):
    files, split, scale, *_ = TREES[name]
    root = make(tmp_path, *files)
    splits = find_splits(root)
    assert not splits or split in splits
    named = name not in ("hr_images and lr_images",)
    assert scale == 1 or not named or scale in find_scales(root)
    assert scale > 1 or find_scales(root) == []


def test_both_views_of_dpdd_as_published(tmp_path):
    files = expand(
        "test_{c,l,r}/target/1P0A09{16,18}.png", "test_c/source/1P0A09{17,19}.png", "test_l/source/1P0A09{17,19}_L.png",
        "test_r/source/1P0A09{17,19}_R.png",
    )  # fmt: skip
    pairs = find_pairs(make(tmp_path, *files), "test", layout="dual_pixel")
    assert [(pair.name, pair.lq, pair.gt) for pair in pairs] == [
        (
            f"1P0A09{n}",
            Views(tmp_path / f"test_l/source/1P0A09{n}_L.png", tmp_path / f"test_r/source/1P0A09{n}_R.png"),
            tmp_path / f"test_c/target/1P0A09{n - 1}.png",
        )
        for n in (17, 19)
    ]
    assert len(find_pairs(tmp_path, "test")) == 2, "what both views show, once"


def test_a_scale_that_is_not_there_is_named_with_those_that_are(tmp_path):
    root = make(tmp_path, *SCALES)
    with pytest.raises(ValueError, match=r"for the scales 2, 3, 4, none for 8; give one of them \(--scale\)"):
        find_pairs(root, "train", scale=8)
