"""Numbers of papers: each attributed, none compared with what was measured otherwise."""

import csv
import dataclasses
from statistics import fmean

import pytest
import yaml

from gesso import _discovery
from gesso.commands import _test_sets
from gesso.commands._scores import find_beside
from gesso.metrics import Protocol
from gesso.published import Measured, content, find_published, known_set, published_images, quoted_tables
from gesso.tasks import TASKS, find_task
from tests._data import ROOT

QUOTED = [
    (table, method, key, score)
    for table in quoted_tables()
    for method in table.rows
    for key, score in table.rows[method].items()
]


def test_every_number_names_its_paper_and_table():
    assert len(QUOTED) > 300
    for block in content()["tables"]:
        assert {"paper", "table", "channel", "sets", "rows"} <= set(block)
        assert block.keys() <= {
            "paper",
            "table",
            "note",
            "whole",
            "task",
            "sigma",
            "scale",
            "channel",
            "protocol",
            "sets",
            "rows",
        }
        assert all(len(cells) == len(block["sets"]) for cells in block["rows"].values())
    for table in quoted_tables():
        assert any(place in table.paper for place in ("ICLR", "CVPR", "ECCV", "ACM MM", "arXiv"))
        assert table.paper in table.source
        assert table.table in table.source


def test_every_number_is_of_a_task_that_can_be_measured_so():
    for table, _, key, score in QUOTED:
        assert key.task in TASKS
        task = find_task(key.task, scale=key.scale)
        own = task.protocol.channel == key.channel
        assert own or key.channel == "rgb" or "luma" in table.note, (table.source, key)
        assert 8 < score.psnr < 45
        assert score.ssim is None or 0.5 < score.ssim < 1


def test_numbers_are_those_of_the_collected_tables():
    path = ROOT.parent / "specs" / "published_results_dcpt_ipt_ptgrm.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    with path.open() as file:
        known = {(row["paper"], row["value"].rstrip("0")) for row in csv.DictReader(file)}
    for table, _, _, score in QUOTED:
        paper = next((name for name in ("DCPT", "IPT", "PTG-RM") if f" {name}," in table.paper), None)
        if paper is not None:
            assert (paper, f"{score.psnr:.2f}".rstrip("0")) in known
            assert score.ssim is None or (paper, f"{score.ssim:.4f}".rstrip("0")) in known


def methods_beside(**protocol):
    """What stands beside rain of Rain100L that was measured so."""
    task = find_task("derain")
    task = dataclasses.replace(task, protocol=dataclasses.replace(task.protocol, **protocol))
    beside = find_beside([_test_sets.TestSet("Rain100L", task, images=[], known=("Rain100L",))])
    return {one.method for one in beside}


def test_numbers_of_another_procedure_are_named_in_their_line():
    """IPT's authors do not round luma, those whom Restormer compares with do."""
    assert {"Restormer", "IPT (luma not rounded)"} <= methods_beside()
    unrounded = methods_beside(round_y=False)
    assert {"Restormer (luma rounded to 8 bits)", "IPT"} <= unrounded
    assert "IPT (luma not rounded, without 0 pixels at each border)" in methods_beside(border=4)
    assert "IPT" not in methods_beside(channel="rgb"), "numbers of another channel do not stand there at all"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_ipts_super_resolution_is_measured_as_the_task_is(scale):
    recipe = yaml.safe_load(_discovery.recipe_file("evaluate", f"ipt_sr_x{scale}").read_text())
    task = find_task("sr", scale)
    assert Protocol(**recipe["protocol"]) == task.protocol
    assert recipe["backbone_args"] == {"stitch": "official"}
    assert recipe["tile"] is None


def test_published_rows_are_found_by_what_was_measured():
    (table,) = find_published([Measured("derain", "Test2800", "y")])[:1]
    assert table.source == "Xu et al., PTG-RM, CVPR 2024, table 5"
    assert {method: str(*scores.values()) for method, scores in table.rows.items()} == {
        "Restormer": "34.18 / 0.944",
        "Restormer + PTG-RM": "34.47 / 0.951",
    }
    assert find_published([Measured("derain", "Test2800", "rgb")]) == [], "another channel"
    assert find_published([Measured("denoise", "CBSD68", "rgb", sigma=40)]) == [], "another noise"
    assert (
        find_published([Measured("sr", "Set5", "y", scale=2)])[0].rows["IPT"][Measured("sr", "Set5", "y", scale=2)].psnr
        == 38.37
    )
    ten = [key for table in quoted_tables() if table.whole for key in table.rows["NAFNet"]]
    assert len(ten) == 10
    assert any(table.whole for table in find_published(ten))
    assert not any(table.whole for table in find_published(ten[:9])), "what is whole is not taken apart"


@pytest.mark.parametrize(
    ("network", "mean"), [("SwinIR", 29.21), ("NAFNet", 32.09), ("Restormer", 31.98), ("PromptIR", 31.88)]
)
def test_the_five_tasks_of_maskdcpt_have_the_means_that_its_table_10_prints(network, mean):
    (table,) = [table for table in quoted_tables() if f"MaskDCPT-{network}" in table.rows and len(table.rows) == 4]
    scores = table.rows[f"MaskDCPT-{network}"].values()
    assert len(scores) == 5
    assert fmean(score.psnr for score in scores) == pytest.approx(mean, abs=0.005)


@pytest.mark.parametrize(
    ("task", "names", "expected"),
    [
        ("derain", ["derain_rain100h"], "Rain100H"),
        ("derain", ["input", "Rain100L", "test"], "Rain100L"),
        ("sr", ["Set5_x4"], "Set5"),
        ("lowlight", ["LOL"], "LOL"),
        ("lowlight", ["eval15"], "LOL"),
        ("dehaze", ["outdoor", "SOTS"], "SOTS_outdoor"),
        ("realblur", ["RealBlur-J"], "RealBlur_J"),
        ("mixed", ["low_haze_rain"], "l+h+r"),
        ("mixed", ["haze_rain"], "h+r"),
        ("deblur", ["RealBlur_J"], None),
        ("deblur", ["holidays", "photos"], None),
        ("no such task", ["GoPro"], None),
    ],
)
def test_sets_are_known_by_the_names_of_their_folders(task, names, expected):
    assert known_set(task, *names) == expected


def test_how_many_images_a_set_has():
    sets = {key.set for _, _, key, _ in QUOTED}
    assert set(content()["images"]) <= sets
    assert set(content()["names"]) <= sets
    assert (published_images("GoPro"), published_images("HIDE")) == (1111, None)
