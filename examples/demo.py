"""The main job on a CPU in a few minutes: prime a network with noise, teach it to remove rain, measure, restore.

The photos are those packaged inside scikit-image; the rain is gesso's own. Train and test photos differ. Writes to
runs/demo and ends with two numbers and a picture. `python examples/demo.py` or `make demo`.
"""

import shutil
from pathlib import Path

import skimage

import gesso
from gesso.report.console import say
from gesso.report.sheets import write_sheet

OUT = Path("runs/demo")
PACKAGED = Path(skimage.__file__).parent / "data"
PHOTOS = ["astronaut", "brick", "camera", "coins", "gravel", "motorcycle_left"]
TRAIN = [*(f"{name}.png" for name in PHOTOS), "retina.jpg", "rocket.jpg"]
TEST = ["chelsea.png", "coffee.png"]
NETWORK = "restormer_tiny"
RAIN = {"name": "rain"}


def copy_photos() -> None:
    """Lays out the photos as a user would have them: clean pictures in two folders."""
    for split, names in (("train", TRAIN), ("test", TEST)):
        folder = OUT / "photos" / split
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(PACKAGED / name, folder / name)


def main() -> None:
    """Runs the whole path."""
    shutil.rmtree(OUT, ignore_errors=True)
    copy_photos()
    say("\n1. IFP: learn to fill in missing frequencies of one noise image", "bold")
    primed = gesso.pretrain(out=OUT / "ifp", pretext="ifp", backbone=NETWORK, crop_size=96, steps=150, sample_every=0)

    say("\n2. Fine-tune on photos with synthetic rain", "bold")
    gesso.finetune(
        out=OUT / "derain",
        task="derain",
        data=OUT / "photos/train",
        degradation=RAIN,
        backbone=NETWORK,
        init=str(primed),
        crop_size=64,
        batch_size=4,
        steps=400,
        lr=1e-3,
        val_every=0,
        sample_every=0,
    )

    say("\n3. Measure on test photos, restored and as they are", "bold")
    rainy = OUT / "photos/rainy"
    gesso.degrade(OUT / "photos/test", rainy, degradation="rain", seed=1)
    network = OUT / "derain/backbone.safetensors"
    before = gesso.evaluate(task="derain", data=rainy)
    after = gesso.evaluate(checkpoint=network, task="derain", data=rainy, out=OUT / "scores")

    say("\n4. Restore a whole photo", "bold")
    restorer = gesso.Restorer.load(network)
    lq, gt = (gesso.read_image(rainy / part / "chelsea.png") for part in ("input", "target"))
    restored = restorer(lq)
    gesso.write_image(OUT / "chelsea.png", restored)
    pretext = gesso.read_image(OUT / "ifp/samples/000150.png")
    write_sheet(OUT / "sheet.png", [{"input": lq, "restored": restored, "ground truth": gt}, {"the pretext": pretext}])
    say(f"\ninput     PSNR {before.psnr:.2f} dB, SSIM {before.ssim:.4f}")
    say(f"restored  PSNR {after.psnr:.2f} dB, SSIM {after.ssim:.4f}")
    say(f"picture   {OUT / 'sheet.png'}")


if __name__ == "__main__":
    main()
