"""The main job on a CPU: restore at once with a network of the package; then prime one, teach it, measure, restore.

The first takes seconds, the rest a few minutes. The photos are those packaged inside scikit-image; the rain is gesso's
own, which the network of the package has seen too, though on no photo. Train and test photos differ. Writes to
runs/demo and ends with three numbers and a picture. `python examples/demo.py` or `make demo`.
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
    rainy = OUT / "photos/rainy"
    gesso.degrade(OUT / "photos/test", rainy, degradation="rain", seed=4)

    say("\n1. Restore at once, with a network that comes with gesso and has seen no photo", "bold")
    gesso.restore(rainy / "input", OUT / "at_once", task="derain")
    before = gesso.evaluate(task="derain", data=rainy)
    at_once = gesso.evaluate(checkpoint="primed:derain", task="derain", data=rainy)

    say("\n2. Prime a network of your own: IFP learns to fill in missing frequencies of one noise image", "bold")
    primed = gesso.pretrain(out=OUT / "ifp", pretext="ifp", backbone=NETWORK, crop_size=96, steps=150, sample_every=0)

    say("\n3. Fine-tune it on photos with synthetic rain", "bold")
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

    say("\n4. Measure on the test photos, and restore a whole one", "bold")
    network = OUT / "derain/backbone.safetensors"
    after = gesso.evaluate(checkpoint=network, task="derain", data=rainy, out=OUT / "scores")
    lq, gt = (gesso.read_image(rainy / part / "chelsea.png") for part in ("input", "target"))
    restored = gesso.Restorer.load(network)(lq)
    gesso.write_image(OUT / "chelsea.png", restored)
    photo = {"input": lq, "at once": gesso.read_image(OUT / "at_once/chelsea.png"), "fine-tuned": restored}
    pretext = gesso.read_image(max((OUT / "ifp/samples").glob("*.png")))
    write_sheet(OUT / "sheet.png", [photo | {"ground truth": gt}, {"the pretext": pretext}])
    say(f"\ninput       PSNR {before.psnr:.2f} dB, SSIM {before.ssim:.4f}")
    say(f"at once     PSNR {at_once.psnr:.2f} dB, SSIM {at_once.ssim:.4f}")
    say(f"fine-tuned  PSNR {after.psnr:.2f} dB, SSIM {after.ssim:.4f}")
    say(f"picture     {OUT / 'sheet.png'}")


if __name__ == "__main__":
    main()
