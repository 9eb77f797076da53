"""Files of weights that are damaged, lie about themselves, or were made to do harm."""

import json
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from gesso.backbones import create_backbone
from gesso.checkpoint import CheckpointError, load, read_header, read_state, save

WEIGHTS = {"conv.weight": torch.arange(64.0).view(8, 8), "conv.bias": torch.ones(8)}


@pytest.fixture
def own(tmp_path):
    save(create_backbone("nafnet_tiny", width=4), tmp_path / "net.safetensors", task="derain", step=600)
    return tmp_path / "net.safetensors"


def with_header(path, change) -> None:
    """Changes the JSON header of a file of gesso behind a length that is right."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    outer = json.loads(data[8 : 8 + length])
    header = json.loads(outer["__metadata__"]["gesso"])
    change(header)
    outer["__metadata__"]["gesso"] = json.dumps(header)
    text = json.dumps(outer).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize("place", [-1, -1000])
def test_a_flipped_bit_in_our_weights_is_noticed(own, place):
    data = bytearray(own.read_bytes())
    data[place] ^= 1
    own.write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum is wrong"):
        read_state(own)


def test_another_word_in_our_header_is_noticed(own):
    with_header(own, lambda header: header.update(task="deblur"))
    with pytest.raises(CheckpointError, match="checksum is wrong"):
        read_state(own)


def test_files_from_before_there_were_checksums_are_read(own):
    with_header(own, lambda header: header.pop("checksum"))
    assert load(own).options["width"] == 4


def test_a_flipped_bit_in_a_zip_is_noticed(tmp_path):
    path = tmp_path / "net.pth"
    torch.save(WEIGHTS, path)
    data = path.read_bytes()
    value = struct.pack("<f", 37.0)
    assert data.count(value) == 1
    path.write_bytes(data.replace(value, struct.pack("<f", 38.0)))
    with pytest.raises(CheckpointError, match="checksum"):
        read_state(path)


def test_a_zip_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(1000, 1000)}, path)
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match=r"is compressed, which torch\.save does not do"):
        read_state(bomb)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_larger_than_its_memory_is_not_filled_with_whatever_lies_there(tmp_path, zipped):
    weight = torch.zeros(4)

    class Larger:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (weight.storage(), 0, (1000, 1000), (1000, 1), False, {})

    path = tmp_path / "net.pth"
    torch.save({"params": {"weight": Larger(), "bias": weight}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"larger than the file|damaged|real numbers"):
        read_state(path)


@pytest.mark.parametrize("value", [torch.empty(3, device="meta"), torch.ones(3).to_sparse(), torch.ones(3) * 1j])
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path, value):
    torch.save({"weight": value}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="expected real numbers under a name, found 'weight'"):
        read_state(tmp_path / "net.pth")


def test_weights_without_names_are_refused(tmp_path):
    torch.save({3: torch.ones(3)}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"found 3: torch\.float32"):
        read_state(tmp_path / "net.pth")


def test_a_pickle_that_holds_itself_ends(tmp_path):
    content: dict = {"epoch": 3}
    content["model"] = content
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="expected weights by name"):
        read_state(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "lie",
    [
        {"width": 10**5},
        {"width": 10**9},
        {"width": -4},
        {"width": "four"},
        {"enc_blk_nums": [10**6, 1, 1, 1]},
        {"enc_blk_nums": None},
        {"no_such_option": 1},
    ],
)
def test_a_header_that_lies_about_the_size_is_refused_before_memory_is_taken(own, lie):
    def change(header):
        header["options"] |= lie
        del header["checksum"]

    with_header(own, change)
    with pytest.raises(CheckpointError, match=r"net\.safetensors: header of a NAFNet with"):
        load(own)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.update(options=[]),
        lambda header: header.update(format="one"),
        lambda header: header.update(backbone=None),
    ],
)
def test_a_header_of_other_kinds_is_damaged(own, change):
    with_header(own, change)
    with pytest.raises(CheckpointError, match="its header is damaged"):
        read_header(own)


def test_a_header_without_a_network_says_so(tmp_path):
    save_file(WEIGHTS, tmp_path / "net.safetensors", metadata={"gesso": '{"format": 1}'})
    with pytest.raises(CheckpointError, match="its network is none, which this gesso does not have"):
        load(tmp_path / "net.safetensors")


def test_a_header_that_is_nested_without_end_is_refused(tmp_path):
    save_file(WEIGHTS, tmp_path / "net.safetensors", metadata={"gesso": "[" * 100_000})
    with pytest.raises(CheckpointError, match="damaged"):
        read_header(tmp_path / "net.safetensors")
