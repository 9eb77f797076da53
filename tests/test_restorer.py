import gc
import itertools
import math
import warnings
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gesso import checkpoint
from gesso.backbones import create_backbone, list_backbones
from gesso.backbones._transfer import PaperTransfer
from gesso.functional.dihedral import dihedral, undo_dihedral
from gesso.functional.memory import peak_bytes
from gesso.functional.padding import round_up
from gesso.restorer import CALL, WHOLE, Restorer, computes_in_bf16
from tests._networks import Convolutional, convolutional, photo_like


def psnr(restored, gt) -> float:
    return -10 * math.log10(max(((restored - gt) ** 2).mean().item(), 1e-20))


def whole(net, image):
    """What the network itself gives for the whole image."""
    with torch.no_grad():
        return net(image[None])[0].clamp(0, 1)


# --------------------------------------------------------------------------------------------------- any size


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 2), (7, 64), (37, 61), (65, 130)])
def test_any_size_keeps_its_rank_and_stays_in_range(size):
    net, image = convolutional(), photo_like(3, *size)
    restorer = Restorer(net, tile=32, precision="float32")
    assert restorer(image).shape == image.shape
    batch = restorer(torch.stack([image, image.flip(0)]) * 3 - 1)
    assert batch.shape == (2, *image.shape)
    assert batch.min() >= 0
    assert batch.max() <= 1


def test_a_batch_is_restored_image_by_image():
    images = torch.stack([photo_like(3, 40, 50, seed) for seed in range(3)])
    restorer = Restorer(convolutional(), tile=32, overlap=16, precision="float32")
    assert torch.equal(restorer(images)[1], restorer(images[1]))


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [(64, 64), (71, 113), (33, 200), (20, 20)])
def test_tiles_of_a_convolutional_network_are_the_whole_image(size, scale):
    net, image = convolutional(scale=scale), photo_like(3, *size)
    restored = Restorer(net, tile=64, overlap=32, precision="float32")(image)
    torch.testing.assert_close(restored, whole(net, image), atol=1e-6, rtol=0)


def test_too_little_overlap_shows_so_the_test_above_means_something():
    net, image = convolutional(), photo_like(3, 71, 113)
    restored = Restorer(net, tile=48, overlap=4, precision="float32")(image)
    assert (restored - whole(net, image)).abs().max() > 1e-4


def test_tiles_of_a_network_that_sees_everything_differ_by_less_than_a_twentieth_of_a_decibel():
    torch.manual_seed(0)
    net = create_backbone("restormer_tiny", dim=8)
    gt = photo_like(3, 160, 192)
    image = gt + 0.1 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(1))
    inside = (slice(None), slice(16, -16), slice(16, -16))
    restored = Restorer(net, tile=96, overlap=32, precision="float32")(image)
    reference = whole(net, image)
    assert not torch.equal(restored, reference)
    assert abs(psnr(restored[inside], gt[inside]) - psnr(reference[inside], gt[inside])) < 0.05


def test_uniform_blending_is_the_mean_of_overlapping_tiles():
    net, image = convolutional(), photo_like(3, 32, 48)
    restored = Restorer(net, tile=32, overlap=16, blend="uniform", precision="float32")(image)
    with torch.no_grad():
        left, right = net(image[None, ..., :32])[0], net(image[None, ..., 16:])[0]
    expected = ((left[..., 16:] + right[..., :16]) / 2).clamp(0, 1)
    torch.testing.assert_close(restored[..., 16:32], expected)


def test_the_network_gets_no_more_than_a_tile():
    net, seen = convolutional(), []
    net.down.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[-2:]))
    Restorer(net, tile=40, overlap=8, precision="float32")(photo_like(3, 100, 150))
    assert len(seen) == 3 * 5
    assert max(max(size) for size in seen) == 40


def test_whoever_watches_sees_every_tile():
    seen = []

    def watch(tiles):
        for tile in tiles:
            seen.append(tile)
            yield tile

    Restorer(convolutional(), tile=40, overlap=8, precision="float32")(photo_like(3, 70, 100), watch)
    assert len(seen) == 2 * 3


def test_a_network_of_one_channel_restores_each_channel_by_itself():
    net, image = convolutional(channels=1), photo_like(3, 40, 50)
    restored = Restorer(net, tile=32, overlap=16, precision="float32")(image)
    assert restored.shape == image.shape
    assert torch.equal(restored[2:], Restorer(net, tile=32, overlap=16, precision="float32")(image[2:]))


# --------------------------------------------------------------------------------------------------- ensemble


def test_the_ensemble_is_the_mean_over_eight_views():
    net, image = convolutional(scale=2), photo_like(3, 21, 34)
    with torch.no_grad():
        views = [undo_dihedral(net(dihedral(image, n)[None])[0], n) for n in range(8)]
    expected = torch.stack(views).mean(0).clamp(0, 1)
    torch.testing.assert_close(Restorer(net, ensemble=True, precision="float32")(image), expected)
    assert not torch.allclose(expected, whole(net, image), atol=1e-3)


# --------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("name", [name for name in list_backbones() if name.endswith("_tiny")])
def test_bf16_is_close_to_float32(name):
    torch.manual_seed(0)
    net = create_backbone(name)
    image = photo_like(net.in_channels, 64, 72)
    exact = Restorer(net, precision="float32")(image)
    assert psnr(Restorer(net, precision="bf16")(image), exact) > 50


PUBLISHED = ["restormer", "promptir", "nafnet_width32", "nafnet_width64", "uformer_b", "swinir_color_dn", "ipt_x1"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_bf16_is_close_to_float32_at_published_sizes(name):
    torch.manual_seed(0)
    net = create_backbone(name)
    image = photo_like(net.in_channels, 40, 48)
    exact = Restorer(net, precision="float32", device="cpu")(image)
    assert psnr(Restorer(net, precision="bf16", device="cpu")(image), exact) > 40


def test_sums_that_stay_in_float32_are_as_close_as_autocast():
    torch.manual_seed(0)
    net, image = create_backbone("ipt_tiny"), photo_like(3, 48, 48)
    exact = Restorer(net, precision="float32", device="cpu")(image)
    rough = Restorer(net, precision="bf16", device="cpu")
    with torch.autocast("cpu", torch.bfloat16):
        autocast = whole(net, image).float()
    assert psnr(rough(image), exact) > psnr(autocast, exact) - 1
    kinds = {parameter.dtype for parameter in rough.network.body.encoder.parameters()}
    assert kinds == {torch.bfloat16, torch.float32}  # weights of products, and norms
    assert rough.network.body.position_encoding.get_parameter("pe.weight").dtype == torch.float32


def test_bf16_does_not_round_the_image_itself():
    net, image = convolutional(), photo_like(3, 40, 50)
    torch.nn.init.zeros_(net.last_conv.weight)
    torch.nn.init.zeros_(net.last_conv.bias)
    assert torch.equal(Restorer(net, precision="bf16")(image), image)


def test_bf16_of_a_paper_transfer():
    torch.manual_seed(0)
    inner = create_backbone("restormer_tiny", dim=8, out_channels=64, image_residual=False)
    net, image = PaperTransfer(inner), photo_like(3, 40, 50)
    assert psnr(Restorer(net, precision="bf16")(image), Restorer(net, precision="float32")(image)) > 45


def test_the_given_network_is_left_as_it_is():
    net = convolutional().train()
    net.middle.eval()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    for precision in ("float32", "bf16"):
        Restorer(net, precision=precision)(photo_like(3, 20, 20))
    assert net.training
    assert not net.middle.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_a_network_in_bf16_is_restored_with_in_float32():
    net = convolutional()
    image = photo_like(3, 20, 20)
    expected = Restorer(net.bfloat16().float(), precision="float32")(image)
    assert torch.equal(Restorer(net.bfloat16(), precision="float32")(image), expected)


def test_the_automatic_precision_is_what_the_processor_computes_in():
    expected = "bf16" if computes_in_bf16(torch.device("cpu")) else "float32"
    assert Restorer(convolutional(), device="cpu").precision == expected


# --------------------------------------------------------------------------------------------------- memory


class Hungry(Convolutional):
    """A network that finds no memory for more than 96 x 96 pixels."""

    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    def features(self, image):
        if image.shape[-1] * image.shape[-2] > 96 * 96:
            raise self.error
        return super().features(image)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    ],
)
@pytest.mark.parametrize("tile", [None, "auto", 256])
def test_tiles_are_halved_until_they_fit_and_stay_so(error, tile):
    torch.manual_seed(0)
    net, image = Hungry(), photo_like(3, 150, 190)
    net.error = error
    restorer = Restorer(net, tile=tile, overlap=32, precision="float32")
    with pytest.warns(RuntimeWarning, match=r"no memory for a tile of \d+ x \d+ pixels; trying (\d+) x \1"):
        restored = restorer(image)
    torch.testing.assert_close(restored, whole(convolutional(), image), atol=1e-6, rtol=0)
    assert restorer.tile in (64, 94)
    with warnings.catch_warnings(action="error"):
        restorer(image)


def test_memory_that_not_even_the_smallest_tile_has_is_an_error(monkeypatch):
    def never(self, image):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(Convolutional, "features", never)
    with pytest.warns(RuntimeWarning), pytest.raises(MemoryError, match="no memory on cpu for a tile of 64 x 64"):
        Restorer(convolutional(), tile=128, precision="float32")(photo_like(3, 128, 128))


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def wrong(self, image):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Convolutional, "features", wrong)
    with pytest.raises(RuntimeError, match="mat1"):
        Restorer(convolutional(), precision="float32")(photo_like(3, 128, 128))


def test_the_automatic_tile_follows_the_memory(monkeypatch):
    net, image = convolutional(), photo_like(3, 300, 400)

    def tiles_with(bytes):
        monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: bytes)
        seen = []
        restored = Restorer(net, precision="float32")(image, lambda tiles: seen.extend(tiles) or tiles)
        torch.testing.assert_close(restored, whole(net, image), atol=1e-6, rtol=0)
        return len(seen)

    assert tiles_with(2e6) > tiles_with(8e6) > 1
    assert tiles_with(1e12) == 1


class Squared(Convolutional):
    """A network that pads to squares."""

    def padding(self, height, width):
        side = round_up(max(height, width), self.size_multiple)
        return 0, side - width, 0, side - height


def computed(restorer, size, tile):
    """The number of tiles, the pixels of the largest with its padding, and those of all."""
    rows, columns = restorer._cut(size, tile)
    with restorer._extending(tile, size):
        areas = [restorer._computed(bottom - top, right - left) for top, bottom in rows for left, right in columns]
    return len(areas), max(areas), sum(areas)


def count_calls(restorer, size, tile):
    """How often the network is called for an image: once for as many tiles of one shape as go together."""
    multiple, at_once = restorer.network.size_multiple, restorer._tiles_at_once(tile)
    sides = [[round_up(stop - start, multiple) for start, stop in axis] for axis in restorer._cut(size, tile)]
    return sum(-(-count // at_once) for count in Counter(itertools.product(*sides)).values())


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    most=st.integers(1_000, 4_000_000),
    multiple=st.sampled_from([1, 2, 8, 48, 128]),
    overlap=st.integers(0, 150),
    kind=st.sampled_from([Convolutional, Squared]),
)
def test_automatic_tiles_fit_the_memory_and_waste_no_pixels(size, most, multiple, overlap, kind):
    net = kind()
    net.size_multiple = multiple
    restorer = Restorer(net, overlap=overlap, precision="float32", device="cpu")
    restorer._bytes_per_pixel, restorer._pixels_that_fit = 1.0, lambda: float(most)
    tile, probe = restorer._first_tile(*size), round_up(96, multiple)
    count, peak, total = computed(restorer, size, tile)
    least = round_up(max(64, 2 * overlap, 192 if most >= 192**2 else probe), multiple)
    assert tile[0] % multiple == tile[1] % multiple == 0
    assert peak <= max(most, least**2)
    assert restorer._tiles_at_once(tile) * restorer._computed(*tile) <= max(most, least**2)
    if restorer._computed(*size) <= max(min(most, WHOLE), probe**2):
        assert count == 1
        return
    calls = count_calls(restorer, size, tile)
    for side in range(least, int(most**0.5), multiple):  # as good as squares of any side that fits
        other_count, _, other_total = computed(restorer, size, (side, side))
        other_calls = count_calls(restorer, size, (side, side))
        padding = other_count * restorer._computed(side, side) - other_total  # tiles at the far edges are cut short
        assert total + CALL * calls <= 1.01 * (other_total + padding + CALL * other_calls)


@pytest.mark.parametrize("size", [(1024, 1024), (3000, 4000), (720, 1280), (1154, 866), (2161, 3233)])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["restormer_tiny", "promptir_tiny", "nafnet_tiny", "swinir_tiny", "ipt_tiny"])
def test_automatic_tiles_compute_little_more_than_the_image(name, precision, size, monkeypatch):
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 2.0**31)
    restorer = Restorer(create_backbone(name), precision=precision, device="cpu")
    _, peak, total = computed(restorer, size, restorer._first_tile(*size))
    assert peak * restorer._bytes_per_pixel <= 2**30
    assert total <= 1.08 * size[0] * size[1]


SIZES = [(480, 640), (720, 1280), (1154, 866), (1024, 1024), (1080, 1920), (2161, 3233), (3000, 4000), (1536, 1664)]
SIZES += [(2048, 2048), (1402, 3000), (480, 1024), (333, 3999)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("img_size", "multiple", "bytes_per_pixel"),
    [(64, 64, 1044), (64, 64, 1182), (128, 128, 1579), (128, 128, 2004), (128, 128, 2402), (128, 128, 3066)],
    ids=["tiny float32", "tiny bf16", "t bf16", "t float32", "s and b bf16", "s float32"],
)
def test_uformers_automatic_tiles_compute_little_more_than_its_windows(
    img_size, multiple, bytes_per_pixel, size, monkeypatch
):
    """Which are 64 or 128 pixels wide at the bottleneck: an image is that much larger before it is cut."""
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 2.0**31)
    restorer = Restorer(create_backbone("uformer_tiny", img_size=img_size), precision="float32", device="cpu")
    assert restorer.network.size_multiple == multiple
    restorer._bytes_per_pixel = bytes_per_pixel  # as measured of the variant
    tile = restorer._first_tile(*size)
    count, peak, total = computed(restorer, size, tile)
    assert count > 1
    assert peak * bytes_per_pixel <= 2**30
    ninth = size == (1024, 1024) and multiple == 128  # eight multiples, which tiles that overlap cannot do with
    assert total <= (9 / 8 if ninth else 1.08) * round_up(size[0], multiple) * round_up(size[1], multiple)
    for axis in restorer._cut(size, tile):
        assert all(stop - start >= 8 for (_, stop), (start, _) in itertools.pairwise(axis))


def test_shorter_tiles_at_the_far_edges_join_without_a_seam(monkeypatch):
    net, image = convolutional(), photo_like(3, 150, 190)
    expected = whole(net, image)
    net.size_multiple, net.tile_overlap = 32, 24
    restorer = Restorer(net, precision="float32", device="cpu")
    monkeypatch.setattr(Restorer, "_first_tile", lambda *_: (96, 128))
    seen, features = set(), net.features
    monkeypatch.setattr(net, "features", lambda image: seen.add(tuple(image.shape[-2:])) or features(image))
    torch.testing.assert_close(restorer(image), expected, atol=1e-6, rtol=0)
    assert seen == {(96, 128), (96, 96)}


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("tile", "shapes"),
    [
        ("auto", {(64, 128)}),  # one of several: a rectangle
        (None, {(128, 128)}),  # the whole image: a square, as published
        (128, {(128, 128)}),  # asked for: it stands in protocols, and stays what it was
    ],
)
def test_uformer_pads_whole_images_to_squares_and_automatic_tiles_to_rectangles(tile, shapes, wrapped, monkeypatch):
    net = create_backbone("uformer_tiny")
    restorer = Restorer(PaperTransfer(net) if wrapped else net, tile=tile, precision="float32", device="cpu")
    monkeypatch.setattr(Restorer, "_first_tile", lambda self, *_: (64, 128) if tile == "auto" else (128, 128))
    seen, features = set(), net.features
    monkeypatch.setattr(net, "features", lambda image: seen.add(tuple(image.shape[-2:])) or features(image))
    assert restorer(torch.rand(3, 100, 120)).shape == (3, 100, 120)
    assert seen == shapes
    assert net.square


@pytest.mark.parametrize("name", ["restormer_tiny", "promptir_tiny"])
def test_no_tile_is_small_where_the_statistics_of_a_tile_are_not_those_of_the_image(name, monkeypatch):
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 2.0**31)
    restorer = Restorer(create_backbone(name), precision="float32", device="cpu")
    for size in [(400, 2000), (2161, 3233), (720, 1280), (700, 700), (440, 4000)]:
        assert min(restorer._first_tile(*size)) >= 256


def test_small_tiles_go_through_the_network_together():
    net, image, seen = convolutional(), photo_like(3, 300, 410), []
    expected = whole(net, image)
    net.down.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    restorer = Restorer(net, precision="float32")
    restorer._first_tile, restorer._pixels_that_fit = (lambda height, width: (104, 104)), (lambda: 4.0 * 104**2)
    restorer._bytes_per_pixel = 1.0
    watched = []
    restored = restorer(image, lambda tiles: watched.extend(tiles) or tiles)
    torch.testing.assert_close(restored, expected, atol=1e-6, rtol=0)
    assert max(shape[0] for shape in seen) == 4
    assert sum(shape[0] for shape in seen) == len(watched)
    assert all(shape[-1] <= 104 and shape[-2] <= 104 for shape in seen)


def test_tiles_of_a_given_side_share_what_they_always_shared_and_go_one_by_one():
    net, seen = create_backbone("restormer_tiny", dim=8), []
    net.patch_embed.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    image = photo_like(3, 150, 100)
    assert torch.equal(
        Restorer(net, tile=96, precision="float32")(image), Restorer(net, 96, 32, precision="float32")(image)
    )
    assert set(seen) == {1}


def test_memory_does_not_grow_with_the_image_but_for_its_restoration():
    restorer = Restorer(convolutional(), tile=64, precision="float32")
    small, large = photo_like(3, 200, 200), photo_like(3, 800, 400)
    gc.collect()
    growth = peak_bytes(lambda: restorer(large)) - peak_bytes(lambda: restorer(small))
    assert growth == pytest.approx((large.numel() - small.numel()) * 4, rel=0.02)


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "image",
    [torch.rand(40, 40), torch.rand(1, 40, 40), torch.rand(3, 0, 40), torch.zeros(3, 40, 40, dtype=torch.uint8)],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match=r"image: expected \(3, H, W\) or \(B, 3, H, W\), floats in \[0, 1\], got"):
        Restorer(convolutional())(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "tile: expected a side in pixels, auto or none, got 0"),
        ({"tile": "big"}, "tile: expected"),
        ({"overlap": -1}, "overlap: expected 0 pixels or more, or auto, got -1"),
        ({"overlap": "little"}, "overlap: expected 0 pixels or more, or auto, got 'little'"),
        ({"precision": "fp8"}, "precision: expected auto, float32, bf16 or float64"),
        ({"blend": "hard"}, "blend: expected smooth or uniform"),
        ({"device": "gpu0"}, "device: expected auto, cpu, cuda or another device of torch, got 'gpu0'"),
        ({"device": "cuda:99"}, "device: asked for cuda:99, but torch sees"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Restorer(convolutional(), **options)


def test_a_restorer_from_a_file(tmp_path):
    torch.manual_seed(0)
    net = create_backbone("restormer_tiny", dim=8)
    checkpoint.save(net, tmp_path / "net.safetensors")
    restorer = Restorer.load(tmp_path / "net.safetensors", tile=64, precision="float32")
    image = photo_like(3, 40, 50)
    torch.testing.assert_close(restorer(image), whole(net, image))
    assert restorer.tile == 64
