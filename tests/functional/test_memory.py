import platform
import subprocess
import sys

import pytest
import torch

from gesso.functional.memory import group_free, is_out_of_memory, kept_memory, peak_bytes


def test_the_peak_counts_what_lives_at_one_time():
    def chain():
        x = torch.ones(1000)
        for _ in range(5):
            x = x + 1  # the old and the new one
        return x

    assert peak_bytes(chain) == 2 * 4000
    with torch.inference_mode():
        assert peak_bytes(chain) == 2 * 4000


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_what_only_gradients_need_is_not_kept_without_them(mode):
    weight, image = torch.ones(1000, requires_grad=True), torch.ones(1000)

    def chain():
        x = image
        for _ in range(5):
            x = x * weight
        return x

    assert peak_bytes(chain) == 5 * 4000
    with mode():
        assert peak_bytes(chain) == 2 * 4000


@pytest.mark.parametrize("rows", [1, 2])
def test_mixed_precision_is_counted_where_nothing_is_learned(rows):
    weight, vector = torch.ones(16, 64, 3, 3), torch.ones(rows, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        described = torch.nn.functional.linear(vector, torch.ones(64, 64))  # bfloat16 beside float32
        assert peak_bytes(lambda: torch.einsum("odyx,bd->boyx", weight, described)) > 0


def test_views_and_changes_in_place_cost_nothing():
    assert peak_bytes(lambda: torch.ones(100, 10).add_(1).view(-1)[::2].mul_(2)) == 4000


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("x"), MemoryError(), RuntimeError("can't allocate memory")])
def test_a_lack_of_memory_is_recognised(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes"), ValueError("out of memory")])
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("0::/", {"memory.max": "max", "memory.current": "5"}, []),
        ("0::/", {"memory.max": "100", "memory.current": "70", "memory.stat": "anon 1\ninactive_file 20"}, [50]),
        (
            "0::/job/step",
            {
                "job/step/memory.max": "80",
                "job/step/memory.current": "70",
                "job/step/memory.stat": "",
                "job/memory.max": "100",
                "job/memory.current": "95",
                "job/memory.stat": "active_file 2\nshmem 40",
            },
            [10, 7],
        ),
        ("0::/of/the/host", {"memory.max": "100", "memory.current": "70", "memory.stat": ""}, [30]),
        (
            "4:cpu,memory:/job\n0::/",
            {
                "memory/job/memory.limit_in_bytes": "100",
                "memory/job/memory.usage_in_bytes": "90",
                "memory/job/memory.stat": "inactive_file 1\ntotal_inactive_file 30",
            },
            [40],
        ),
        ("3:cpu:/job", {}, []),
    ],
)
def test_control_groups_of_both_versions_say_what_they_still_allow(tmp_path, groups, files, free):
    """As Docker, systemd and SLURM set them; the cache of files gives way, shared memory does not."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(group_free(groups, tmp_path)) == free


def test_kept_memory_is_given_back_and_nests():
    with kept_memory(), kept_memory():
        assert torch.ones(2**24).sum() == 2**24
    assert torch.ones(8).sum() == 8


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory when asked")
def test_tensors_within_kept_memory_need_no_new_pages(start):
    process = start([sys.executable, "-c", KEPT], stdout=subprocess.PIPE, text=True)
    before, kept, after = map(int, process.communicate()[0].split())
    assert kept < before / 4
    assert kept < after / 4


KEPT = """
import resource, torch
from gesso.functional.memory import kept_memory

def new_pages():
    first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first

print(new_pages())
with kept_memory():
    torch.ones(2**26)
    print(min(new_pages() for _ in range(5)))  # what lies between may cut up what was freed
print(new_pages())
"""
