import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import time
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gesso.data import cache as cache_module
from gesso.data.cache import CacheFolder, KeptOnDiskWarning, PixelCache, cache_folder
from gesso.data.datasets import ImageDataset
from gesso.data.image_ref import Views
from gesso.data.io import read_array, read_pixels, write_image
from gesso.formats import RGB, PixelFormat
from gesso.functional.processes import PARALLEL_RUNS


def write(path: Path, height: int = 16, width: int = 24, *, bits: int = 8, channels: int = 3, seed: int = 0) -> Path:
    """A file of unrelated pixels."""
    generator = torch.Generator().manual_seed(sum(path.name.encode()) + seed)
    write_image(path, torch.rand(channels, height, width, generator=generator), bits=bits, overwrite=True)
    return path


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    return [write(tmp_path / f"{n}.png", 16, 20 + n) for n in range(4)]


def mark(folder: Path) -> None:
    """Makes kept files tell from what is decoded anew."""
    for path in folder.glob("*.npy"):
        np.save(path, np.zeros_like(np.load(path)))


def read_all(folder: CacheFolder, photos: list[Path]) -> list[bytes]:
    return [folder[photo].tobytes() for photo in photos]


@pytest.fixture
def no_memory(tmp_path, monkeypatch) -> Path:
    """As if no memory could be spared and nothing else had any; returns the folder for decoded files."""
    monkeypatch.setattr(cache_module, "_living", weakref.WeakSet())
    monkeypatch.setattr(cache_module, "free_memory", lambda: 0)
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


def disk(monkeypatch, free: int) -> None:
    """As if so many bytes were free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 * free, 9 * free, free))


# ----------------------------------------------------------------------------------------------------- the same pixels


@pytest.mark.parametrize("bits", [8, 16])
def test_kept_pixels_are_those_of_the_files_and_are_read_from_disk(tmp_path, bits):
    left, right = (write(tmp_path / f"{side}.png", bits=bits) for side in ("left", "right"))
    four = write(tmp_path / "four.png", bits=bits, channels=4)
    kept, planes = tmp_path / "kept", PixelFormat("planes")
    refs = [(left, RGB), (Views(left, right), RGB), (four, planes), (four, RGB)]
    for ref, format in refs * 2:
        pixels = CacheFolder(kept, format)[ref]
        assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
        np.testing.assert_array_equal(pixels, read_pixels(ref, format))
    assert len(list(kept.iterdir())) == 4
    mark(kept)
    assert not any(CacheFolder(kept, format)[ref].any() for ref, format in refs)


def test_processes_share_what_any_has_decoded(tmp_path, photos):
    folder = CacheFolder(tmp_path / "kept")
    # Forked processes have the handlers of this one, and what ends them is SIGTERM.
    by_default = {"initializer": signal.signal, "initargs": (signal.SIGTERM, signal.SIG_DFL)}
    with multiprocessing.get_context("fork").Pool(2, **by_default) as pool:
        both = pool.starmap(read_all, [(folder, photos), (folder, photos[::-1])])
    assert both[0] == both[1][::-1] == [read_array(photo).tobytes() for photo in photos]
    assert len(list((tmp_path / "kept").iterdir())) == len(photos)
    mark(tmp_path / "kept")
    assert not any(map(any, read_all(CacheFolder(tmp_path / "kept"), photos)))


def test_a_link_shares_what_its_target_has(tmp_path, photos):
    (tmp_path / "link.png").symlink_to(photos[0])
    folder = CacheFolder(tmp_path / "kept")
    assert folder.path(tmp_path / "link.png") == folder.path(photos[0])


def test_a_source_that_has_changed_is_decoded_anew(tmp_path):
    photo, folder = write(tmp_path / "photo.ppm"), CacheFolder(tmp_path / "kept")
    before, then = folder[photo], photo.stat()
    time.sleep(0.02)  # clocks of file systems tick every few milliseconds
    write(photo, seed=1)
    os.utime(photo, ns=(then.st_atime_ns, then.st_mtime_ns))  # as copying with its times does
    assert photo.stat().st_size == then.st_size
    assert np.array_equal(folder[photo], read_array(photo))
    assert not np.array_equal(folder[photo], before)
    photo.unlink()
    with pytest.raises(FileNotFoundError, match=r"photo\.ppm"):
        folder[photo]


@pytest.mark.parametrize("left", [0, 50, 500])
def test_a_kept_file_that_is_cut_short_is_decoded_anew(tmp_path, photos, left):
    folder = CacheFolder(tmp_path / "kept")
    folder[photos[0]]
    path = folder.path(photos[0])
    path.write_bytes(path.read_bytes()[:left])
    for _ in range(2):
        np.testing.assert_array_equal(folder[photos[0]], read_array(photos[0]))
    assert path.stat().st_size > 500


def test_a_full_disk_is_said_once_and_every_access_decodes(tmp_path, photos):
    folder = CacheFolder(tmp_path / "kept")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.warns(UserWarning, match="could not write .*kept.*decoded at every access") as warned:
            found = read_all(folder, photos)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(warned) == 1
    assert found == [read_array(photo).tobytes() for photo in photos]
    assert not list((tmp_path / "kept").iterdir())


# ----------------------------------------------------------------------------------------------------- chosen by itself


def test_what_memory_does_not_hold_goes_to_disk_and_samples_stay_the_same(photos, no_memory):
    with pytest.warns(KeptOnDiskWarning, match="GESSO_CACHE"):
        dataset = ImageDataset(photos, seed=3)
    keys = [[(index, 16), (index + 1, 8 + index)] for index in range(0, 12, 2)]
    keys = [[(index, size) for index, _ in batch] for batch, size in zip(keys, (16, 8, 12, 16, 9, 16), strict=True)]
    from_disk = list(DataLoader(dataset, batch_sampler=keys, num_workers=2, multiprocessing_context="fork"))
    assert len(list(no_memory.iterdir())) == len(photos)
    anew = list(DataLoader(ImageDataset(photos, seed=3, budget=0), batch_sampler=keys))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(from_disk, anew, strict=True))
    mark(no_memory)
    assert not dataset[0, 16]["image"].any()
    assert not pickle.loads(pickle.dumps(dataset))[0, 16]["image"].any(), "workers that are spawned share it, too"


@pytest.mark.parametrize("why", ["empty", "small disk", "memory"])
def test_nothing_goes_to_disk_where_nobody_wants_it_there(tmp_path, photos, no_memory, monkeypatch, why):
    if why == "empty":
        monkeypatch.setenv("GESSO_CACHE", "")
    if why == "small disk":
        disk(monkeypatch, 10_000)
    if why == "memory":
        monkeypatch.setattr(cache_module, "free_memory", lambda: 1 << 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache = PixelCache(photos)
    assert all(np.array_equal(cache[photo], read_array(photo)) for photo in photos)
    assert not no_memory.exists()


def test_sets_of_one_process_share_its_room(photos, no_memory, monkeypatch):
    disk(monkeypatch, 4 * 3000)
    with pytest.warns(KeptOnDiskWarning):
        first = PixelCache(photos[:2])
    assert (first.on_disk, PixelCache(photos[2:]).on_disk) == (2 * 8 + 16 * (20 + 21) * 3, 0)
    monkeypatch.setattr(cache_module, "free_memory", lambda: 4 * 3000)
    second = PixelCache(photos[:2])
    assert second.in_memory == first.on_disk
    assert PixelCache(photos[2:]).in_memory == 0


TWO_OF_A_RUN = {"RANK": 1, "WORLD_SIZE": 4, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}


@pytest.mark.parametrize("variables", [TWO_OF_A_RUN, {PARALLEL_RUNS: 2}])
def test_the_processes_of_a_run_and_runs_side_by_side_share_the_memory(photos, no_memory, monkeypatch, variables):
    monkeypatch.setattr(cache_module, "free_memory", lambda: 4 * 5000)
    monkeypatch.setenv("GESSO_CACHE", "")
    assert PixelCache(photos).in_memory > 0
    for name, number in variables.items():
        monkeypatch.setenv(name, str(number))
    assert PixelCache(photos).in_memory == 0


def test_a_folder_that_cannot_be_used_is_left_alone(tmp_path, photos, no_memory, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "file"))
    cache = PixelCache(photos)
    assert cache.on_disk == 0
    assert all(np.array_equal(cache[photo], read_array(photo)) for photo in photos)


def test_the_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("GESSO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gesso" / "decoded"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gesso" / "decoded"


# ---------------------------------------------------------------------------------------------------------- making room


def test_what_has_not_been_used_for_longest_makes_room(tmp_path, photos, monkeypatch):
    folder = CacheFolder(tmp_path / "kept")
    read_all(folder, photos)
    for days, photo in enumerate(photos):
        os.utime(folder.path(photo), times=(time.time() - 86400 * days,) * 2)
    size = sum(path.stat().st_size for path in folder.folder.iterdir())
    disk(monkeypatch, 3 * size)  # and with what is kept, a quarter of it is what is kept
    pixels = folder[photos[3]]
    folder.make_room([photos[2]], folder.path(photos[2]).stat().st_size)
    assert all(folder.path(photo).exists() for photo in photos), "there is room"
    folder.make_room([photos[2], tmp_path / "0.png"], size // 2 + 1500)
    assert [folder.path(photo).exists() for photo in photos] == [True, False, True, False]
    assert np.array_equal(pixels, read_array(photos[3])), "who reads can go on"
    assert folder.path(photos[2]).stat().st_mtime > time.time() - 3600


def test_files_are_forgotten_after_a_month_and_those_of_others_never_touched(tmp_path, photos):
    folder = CacheFolder(tmp_path / "kept")
    read_all(folder, photos[:2])
    foreign = [tmp_path / "kept" / name for name in ("mine.npy", f"{'0' * 32}.txt")]
    left_by_a_kill = tmp_path / "kept" / f".{'0' * 32}.01234567.tmp.npy"
    for path in (*foreign, left_by_a_kill):
        path.write_bytes(b"x")
    for path in (*foreign, left_by_a_kill, folder.path(photos[0])):
        os.utime(path, times=(time.time() - 31 * 86400,) * 2)
    folder.make_room([], 0)
    assert sorted(folder.folder.iterdir()) == sorted([*foreign, folder.path(photos[1])])
