"""The benchmarks that nobody can run every day run at all."""

import json
import re
import signal
from types import SimpleNamespace

import pytest
import torch

from benchmarks import gpu, official, operations, pretexts
from gesso.functional.random import generator_for, poisson, rand
from tests._pretend_gpu import pretended_gpu


def test_the_gpu_run_goes_through_on_a_cpu(tmp_path):
    gpu.main(["--out", str(tmp_path), "--device", "cpu", "--dry-run"])
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["left out"] == []
    for part in gpu.SHARES:
        assert bool(content[part]) == (part != "compiled"), part  # which takes minutes on a CPU
        assert not [row for row in content[part] if "error" in row]
    assert {row["what"] for row in content["correct"]} >= {"restormer_tiny", "ifp", "dcpt"}
    assert all(row["output"] == row["gradient"] == 0 for row in content["correct"])  # the CPU against itself
    assert {row["form"] for row in content["networks"]} == {"textbook", "float32", "bf16", "autocast"}
    assert all(row["step_faster"] > 0 for row in content["networks"])
    assert "| nafnet_tiny |" in (tmp_path / "gpu.md").read_text()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer of signals")
def test_what_is_being_measured_when_the_minutes_are_over_is_broken_off(tmp_path):
    report = gpu.Report(tmp_path, torch.device("cpu"), minutes=0.001)
    with report.deadline():
        with report.trying("compiled", "what never ends"):
            while True:
                torch.rand(1)
        assert not report.has_time("compiled", "the next")
    assert report.left_out == ["compiled: what never ends, broken off", "compiled: the next"]


def test_random_numbers_of_a_gpu_are_drawn_on_the_cpu():
    with pretended_gpu() as device, gpu.DrawnOnTheCpu():
        generator = generator_for(3, device=device)
        drawn = [rand((2, 3), generator), poisson(torch.full((2, 3), 9.0, device=device), generator)]
    twin = generator_for(3)
    assert torch.equal(drawn[0].cpu(), rand((2, 3), twin))
    assert torch.equal(drawn[1].cpu(), poisson(torch.full((2, 3), 9.0), twin))
    assert all(numbers.device == device for numbers in drawn)


def test_what_no_longer_fits_into_the_time_is_named(tmp_path):
    report = gpu.main(["--out", str(tmp_path), "--device", "cpu", "--dry-run", "--minutes", "0"])
    assert "networks: nafnet_tiny, 1 x 32, float32" in report.left_out
    assert "- ifp: bf16" in (tmp_path / "gpu.md").read_text()


def test_a_checkout_of_the_authors_code_is_measured_beside_ours(tmp_path, capsys):
    """The textbook formulation stands for the authors' code, which is not here."""
    file = tmp_path / "basicsr/models/archs/restormer_arch.py"
    file.parent.mkdir(parents=True)
    file.write_text("from benchmarks.textbook.restormer import Textbook as Restormer\n")
    words = ["restormer_tiny", "--code", str(tmp_path), "--size", "16", "--rounds", "1", "--passes", "forward"]
    official.main([*words, "--precisions", "float32"])
    printed = capsys.readouterr().out
    assert "official float32" in printed
    assert "1.00x" in printed
    with pytest.raises(SystemExit, match=r"expected the authors' repository with model\.py"):
        official.main(["uformer_tiny", *words[1:]])


def test_authors_code_that_takes_one_object_and_images_to_255(tmp_path, capsys):
    """The textbook formulation in the dress of IPT's authors: all options in `args`, images as eight bits have them."""
    file = tmp_path / "model/ipt.py"
    file.parent.mkdir()
    file.write_text(
        "from benchmarks.textbook.ipt import Textbook\n\n\n"
        "class ipt(Textbook):\n"
        "    def __init__(self, args):\n"
        "        assert args.dropout_rate == 0\n"
        "        super().__init__(**{name: value for name, value in vars(args).items() if name != 'dropout_rate'})\n\n"
        "    def forward(self, image):\n"
        "        return 255 * super().forward(image / 255)\n"
    )
    words = ["ipt_tiny", "--code", str(tmp_path), "--size", "16", "--rounds", "1", "--passes", "forward"]
    official.main([*words, "--precisions", "float32", "--without-textbook"])
    printed = capsys.readouterr().out
    assert "official float32" in printed
    assert "textbook" not in printed


@pytest.mark.parametrize(
    ("name", "shapes", "kind"),
    [
        ("aten::addmm", [[64], [9, 32], [32, 64]], "products"),
        ("aten::mkldnn_convolution", [[1, 64, 8, 8], [64, 1, 3, 3], [64]], "depthwise convolutions"),
        ("aten::mkldnn_convolution", [[1, 64, 8, 8], [32, 64, 1, 1], []], "1 x 1 convolutions"),
        ("aten::convolution_backward", [[1, 64, 8, 8], [1, 32, 8, 8], [64, 32, 3, 3]], "other convolutions"),
        ("aten::convolution_backward", [[1, 64, 8, 8], [1, 64, 8, 8], [64, 1, 3, 3]], "depthwise convolutions"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [[4, 6, 64, 30]], "attention"),
        ("aten::native_layer_norm_backward", [[1, 8, 8, 32]], "norms"),
        ("aten::copy_", [[8, 8], [8, 8]], "copies"),
        ("aten::gelu", [[8, 8]], "arithmetic"),
        ("aten::empty_strided", [[]], "new memory"),
    ],
)
def test_operations_are_told_apart(name, shapes, kind):
    event = SimpleNamespace(key=name, input_shapes=shapes, self_cpu_time_total=1)
    assert operations.kind_of(event) == kind


def test_what_a_network_spends_its_time_on(capsys):
    operations.main(["nafnet_tiny", "--size", "16", "--rounds", "1", "--precisions", "float32", "--names", "2"])
    printed = capsys.readouterr().out
    for name in ("forward", "step"):
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{name}, float32: "))
        shares = [int(share) for share in re.findall(r"(\d+) %", line)]
        assert shares == sorted(shares, reverse=True)
        assert 90 <= sum(shares) <= 105


def test_a_row_of_the_pretexts_says_that_the_run_resumes_and_can_be_fine_tuned():
    recipe = {"crop_size": 16, "batch_size": 1, "steps": 10, "lr": 5e-4, "precision": "float32"}
    (row,) = pretexts.measure("maskdcpt", "nafnet_tiny", recipe)
    assert row[:2] == ["maskdcpt", "nafnet_tiny"]
    assert row[-2:] == ["same bits", "194/196 tensors"]
    assert all(float(number) > 0 for number in row[2:7])
