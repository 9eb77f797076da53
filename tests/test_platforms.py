"""gesso beside other systems than the one it is tested on: Windows and macOS, as far as Linux can show them."""

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import gesso
from gesso import cli
from gesso._discovery import ROOT
from gesso._names import file_key, fitting, ignores_case, portable
from gesso.commands._verbs import verbs
from gesso.comparison.arms import Common, find_arms
from gesso.comparison.splits import link_pairs
from gesso.data.cache import CacheFolder
from gesso.data.layouts import find_pairs
from gesso.report import console
from tests import _windows
from tests._runs import NAFNET, SMALL_NETWORK, write_pairs

RUN = {"task": "derain", "crop_size": 16, "batch_size": 1, "steps": 2, "precision": "float32", "sample_every": 0}
RUN |= SMALL_NETWORK

# ------------------------------------------------------------------------------------------------- without POSIX


@pytest.fixture(scope="module")
def on_windows(tmp_path_factory):
    """What every main verb has printed as if on Windows, into a pipe in its encoding, and how each of them ended.

    Workers are spawned; links are not allowed; files have names that the encoding lacks.
    """
    data, out = tmp_path_factory.mktemp("été"), tmp_path_factory.mktemp("out中")
    write_pairs(data, 4)
    for path in [*data.glob("*/*.png")]:
        path.rename(path.with_name(f"é→中{path.name}"))
    variables = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    words = [sys.executable, "-m", "tests._windows", str(data), str(out)]
    done = subprocess.run(words, capture_output=True, env=variables, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr.decode("cp1252")
    return done.stdout.decode("cp1252"), data, out


@pytest.mark.parametrize("name", _windows.commands(Path(), Path()))
def test_every_main_verb_works_without_posix(on_windows, name):
    assert json.loads(on_windows[0].splitlines()[-1])[name] == 0


def test_what_is_printed_takes_the_characters_that_a_pipe_of_windows_has(on_windows):
    said = on_windows[0]
    assert "restoring ---" in said, "bars are drawn in ASCII"
    assert "\\u4e2d" in said


def test_files_are_the_same_as_elsewhere(on_windows):
    _, data, out = on_windows
    assert {path.name for path in (out / "restored").iterdir()} == {path.name for path in (data / "input").iterdir()}
    assert (out / "compared/comparison.html").is_file()
    assert not [path for path in (out / "compared/data").rglob("*") if path.is_symlink()]


def test_every_module_can_be_imported_without_posix():
    code = "from tests._windows import *; hide_posix(); print(import_all())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize("links", [True, False])
def test_a_comparison_lays_out_its_pairs_where_links_are_not_allowed(tmp_path, monkeypatch, links):
    """Windows grants them to administrators and developers alone."""
    pairs = find_pairs(write_pairs(tmp_path / "pairs", 2), "train")
    if not links:
        monkeypatch.setattr(Path, "symlink_to", refuse)
    link_pairs(pairs, tmp_path / "set")
    again = find_pairs(tmp_path / "set", "train")
    assert [pair.gt.read_bytes() for pair in again] == [pair.gt.read_bytes() for pair in pairs]
    assert [pair.lq.is_symlink() for pair in again] == [links] * 2


def refuse(*_):
    raise OSError(1314, "A required privilege is not held by the client")


# ------------------------------------------------------------------------------------------------------- spawning


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_spawned_change_nothing(tmp_path, workers):
    """All that samples are made of has to survive pickling, and nothing may hang on what a fork would inherit."""
    data = write_pairs(tmp_path / "pairs", 4)
    here = gesso.finetune(out=tmp_path / "here", data=data, workers=0, rehearse=0.5, **RUN)
    script = tmp_path / "train.py"
    options = {**RUN, "data": str(data), "out": str(tmp_path / "spawned"), "workers": workers, "rehearse": 0.5}
    script.write_text(SCRIPT.format(options=options), encoding="utf-8")
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True, cwd=ROOT.parent)
    assert (tmp_path / "spawned" / here.name).read_bytes() == here.read_bytes()


SCRIPT = """
import multiprocessing
import gesso

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    gesso.finetune(**{options})
"""

# ------------------------------------------------------------------------------------------------------------ files


@pytest.fixture
def locks(monkeypatch):
    """Refuses to replace or remove what this process has open or mapped, as Windows does."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc to know what is open")
    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


def refusing(change):
    def changed(path, *others, **options):
        for place in (path, *others):
            if is_open(Path(place).absolute()):
                raise PermissionError(13, "The process cannot access the file because it is being used", str(place))
        return change(path, *others, **options)

    return changed


def is_open(path):
    if not path.exists():
        return False
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    handles = [handle for handle in Path("/proc/self/fd").iterdir() if handle.exists()]
    return any(handle.samefile(path) for handle in handles) or any(line.endswith(f" {path}") for line in maps)


def test_the_lock_of_windows_is_imitated(tmp_path, locks):
    (tmp_path / "a").write_bytes(b"a")
    with (tmp_path / "a").open("rb"), pytest.raises(PermissionError):
        (tmp_path / "a").unlink()
    (tmp_path / "a").rename(tmp_path / "b")
    assert (tmp_path / "b").exists()


def test_nothing_is_replaced_or_removed_that_is_still_open(tmp_path, locks):
    data = write_pairs(tmp_path / "pairs", 4)
    run = {**RUN, "out": tmp_path / "run", "data": data, "val_every": 1}
    file = gesso.finetune(**run)
    gesso.finetune(**run | {"steps": 3, "schedule": "constant"}, overwrite=True)
    gesso.finetune(**run | {"steps": 4, "schedule": "constant"}, resume=True)
    own = gesso.finetune(**run | {"out": tmp_path / "next", "init": str(file)})
    gesso.finetune(**run | {"out": tmp_path / "next", "init": str(file)}, overwrite=True)
    for _ in range(2):
        gesso.restore(data / "input", tmp_path / "restored", checkpoint=own, overwrite=True)
        gesso.export(own, tmp_path / "out.safetensors", format="safetensors", overwrite=True)
        gesso.evaluate(checkpoint=own, task="derain", data=data, out=tmp_path / "scores", overwrite=True)
    net = gesso.load(own)
    gesso.save(net, own)
    own = {name: RUN[name] for name in ("task", "steps", "crop_size", "batch_size", "backbone", "backbone_args")}
    gesso.compare(out=tmp_path / "c", data=data, starts=f"random,{file}", seeds=0, folds=2, devices=1, **own)


def test_a_kept_image_that_another_run_has_open_is_left_as_it_is(tmp_path, locks, recwarn):
    path = write_pairs(tmp_path / "pairs", 1) / "input" / "0.png"
    folder = CacheFolder(tmp_path / "cache")
    first = folder[path]
    again = folder[path]  # mapped
    folder._keep(folder.path(path), first)
    assert folder.keeps
    assert (again == first).all()
    assert not recwarn.list


def text_without_encoding(path):
    """Calls that read or write text in whatever encoding the system is set to."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {word.arg: word.value for word in node.keywords}
        if "encoding" in named:
            continue
        if name in ("read_text", "write_text"):
            yield node.lineno
        if name in ("run", "Popen", "check_output") and {"text", "universal_newlines"} & named.keys():
            yield node.lineno
        if name == "open":
            values = [*node.args[: 2 if isinstance(node.func, ast.Name) else 1], named.get("mode")]
            modes = [
                value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)
            ]
            if not any(set(mode) <= set("rwaxb+") and "b" in mode for mode in modes) and "newline" in named:
                yield node.lineno
            if not modes and not isinstance(node.func, ast.Name) and not node.args and not named:
                yield node.lineno


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_names_its_encoding(path):
    """That of Windows is another, and depends on the country."""
    assert not list(text_without_encoding(path))


# ------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("plain", "plain"),
        ("lr=1e-3, warm", "lr=1e-3, warm"),
        ("a/b", "a-b"),
        ("a\\b", "a-b"),
        ("primed:derain", "primed-derain"),
        ('what? "this" <or> that|*', "what- -this- -or- that--"),
        ("line\nend\tand tab", "line-end-and tab"),
        ("ends in dots...", "ends in dots-"),
        ("ends in space ", "ends in space-"),
        (".hidden", ".hidden"),
        ("..", "-"),
        ("", "-"),
        ("CON", "CON-"),
        ("nul", "nul-"),
        ("aux.png", "aux-.png"),
        ("COM1", "COM1-"),
        ("lpt9.tar.gz", "lpt9-.tar.gz"),
        ("com²", "com²-"),
        ("console", "console"),
        ("com10", "com10"),
    ],
)
def test_a_name_that_a_user_chose_is_one_on_any_system(name, file):
    assert portable(name) == file
    assert portable(file) == file


def test_arms_of_any_name_have_folders_that_any_system_takes():
    names = ["a*b", "what?", "CON", "a:b\\c", "trail. ", "x" * 300]
    found = find_arms([], {}, {name: {"lr": 1e-3 + 1e-5 * number} for number, name in enumerate(names)}, COMMON)
    folders = [arm.folder for arm in found]
    assert all(portable(folder) == folder and len(folder.encode()) <= 255 for folder in folders)
    assert len({folder.casefold() for folder in folders}) == len(names)


COMMON = Common({"backbone": "nafnet_tiny", "backbone_args": {}}, {}, "derain")


@pytest.mark.parametrize("names", [("Warm", "warm"), ("a/b", "a:b"), ("\u00e9t\u00e9", "e\u0301te\u0301")])
def test_arms_whose_folders_would_be_one_are_refused(names):
    arms = {name: {"lr": 1e-3} for name in names}
    with pytest.raises(ValueError, match="would share a name"):
        find_arms([], {}, arms, COMMON)


def test_a_long_name_is_cut_and_stays_its_own():
    assert fitting("x" * 300, ".png") != fitting("x" * 301, ".png")


@pytest.mark.parametrize(("one", "other"), [("A.png", "a.PNG"), ("\u00c9.png", "e\u0301.png")])
def test_names_that_differ_in_case_or_composition_are_one_where_these_do_not_count(one, other):
    assert file_key(Path(one), ignoring_case=True) == file_key(Path(other), ignoring_case=True)
    assert file_key(Path(one), ignoring_case=False) != file_key(Path(other), ignoring_case=False)


def test_this_folder_is_asked_whether_case_counts(tmp_path):
    (tmp_path / "Probe").mkdir()
    assert ignores_case(tmp_path / "Probe" / "not there") == (tmp_path / "pROBE").exists()


@pytest.fixture
def without_case(monkeypatch):
    """A file system as of Windows and macOS."""
    for module in ("gesso.commands._restore", "gesso.commands._written"):
        monkeypatch.setattr(f"{module}.ignores_case", lambda folder: True)


@pytest.mark.parametrize(("names", "format"), [(("A.png", "a.png"), None), (("A.bmp", "a.png"), "png")])
def test_restorations_that_would_be_one_file_are_refused_before_any_work(tmp_path, without_case, names, format):
    for number, name in enumerate(names):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (20, 16), (number, 0, 0)).save(tmp_path / "in" / name)
    network = tmp_path / "net.safetensors"
    gesso.save(gesso.create_backbone("nafnet_tiny", **NAFNET), network)
    with pytest.raises(ValueError, match=r"A\.\w+ and .*a\.png would both be written as .*; rename one"):
        gesso.restore(tmp_path / "in", tmp_path / "out", checkpoint=network, format=format)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("A.png", "a.png"), ("A.jpg", "a.png")])
def test_pairs_that_would_be_one_file_are_refused_before_any_work(tmp_path, without_case, names):
    (tmp_path / "in").mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (20, 16), (number, 0, 0)).save(tmp_path / "in" / name)
    with pytest.raises(ValueError, match="would both be written as"):
        gesso.degrade(tmp_path / "in", tmp_path / "out", degradation="rain")
    assert not (tmp_path / "out").exists()


def test_measured_images_that_would_be_one_file_are_refused_before_any_work(tmp_path, without_case):
    for number, name in enumerate(("A.png", "a.png")):
        for side in ("input", "target"):
            (tmp_path / "in" / side).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 16), (number, 0, 0)).save(tmp_path / "in" / side / name)
    with pytest.raises(ValueError, match="would both be written as"):
        gesso.evaluate(task="derain", data=tmp_path / "in", out=tmp_path / "out", save_images=True)
    assert not (tmp_path / "out").exists()


def test_where_case_counts_both_are_written(tmp_path):
    if ignores_case(tmp_path):
        pytest.skip("here it does not")
    (tmp_path / "in").mkdir()
    for name in ("A.png", "a.png", "a.PNG"):
        Image.new("RGB", (20, 16)).save(tmp_path / "in" / name)
    assert len(gesso.degrade(tmp_path / "in", tmp_path / "out", degradation="rain").written) == 3


@pytest.mark.parametrize("sides", [("IMG_1.PNG", "img_1.png"), ("Rain-A.png", "rain-a.PNG"), ("a.Png", "A.pNG")])
def test_pairs_whose_sides_differ_in_case_are_found(tmp_path, sides):
    for side, name in zip(("input", "target"), sides, strict=True):
        (tmp_path / side).mkdir()
        Image.new("RGB", (20, 16)).save(tmp_path / side / name)
    ((pair),) = find_pairs(tmp_path, "train")
    assert (pair.lq.name, pair.gt.name) == sides


# ------------------------------------------------------------------------------------------------- paths of Windows


@pytest.mark.parametrize("path", [r"C:\new\table", r"D:\Users\x y\pairs", r"\\server\share\n", r"..\test\data"])
def test_a_path_with_backslashes_survives_a_recipe(tmp_path, path):
    words = [
        "finetune",
        "--task",
        "derain",
        "--data",
        path,
        "--out",
        str(tmp_path / "out"),
        "--init",
        path + ".safetensors",
    ]
    options = cli.read_options(cli.command("finetune"), words[1:])
    (tmp_path / "config.yaml").write_text(dumped(cli.command("finetune"), options), encoding="utf-8")
    again = cli.read_options(
        cli.command("finetune"), ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path)]
    )
    assert (again["data"], again["init"]) == (path, path + ".safetensors")


def dumped(kind, options):
    from gesso.training.recipe import Recipe, write

    path = Path(options["out"]).parent / "dumped.yaml"
    write(path, "# gesso finetune --config THIS_FILE --out FOLDER", Recipe.of(kind(**options)).options)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (r'data: "C:\new\table"', "in line 2 is no path: double quotes take a backslash for an escape"),
        (r'data: "..\new"', "in line 2 is no path: double quotes take a backslash for an escape"),
        (r'mix: {rain: {data: "D:\rain\test"}}', "in line 2 is no path"),
        (r'data: "C:\Users\me"', "in line 2: expected escape sequence of 8 hexadecimal numbers.*; double quotes take"),
        (r'data: "C:\pairs"', "in line 2: found unknown escape character.*; double quotes take"),
    ],
)
def test_a_path_in_double_quotes_is_told_about_escapes(tmp_path, line, told):
    (tmp_path / "recipe.yaml").write_text(f"task: derain\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        cli.read_options(cli.command("finetune"), ["--config", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path)])


@pytest.mark.parametrize("name", [r"C:\code\nets.py:Net", "/home/me/nets.py:Net", "nets.py:Net"])
@pytest.mark.parametrize("option", ["backbone", "task"])
def test_a_part_in_a_file_is_told_how_it_is_named(tmp_path, name, option):
    file = name.rpartition(":")[0]
    given = {"task": "derain", "data": tmp_path, "out": tmp_path / "out", option: name}
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (what it says is below)
        gesso.finetune(**given)
    assert f"write nets:Net, in the folder of {file}, for one of your own" in str(caught.value)


def test_a_template_may_have_backslashes(tmp_path):
    data = write_pairs(tmp_path / "pairs", 2)
    for path in (data / "input").iterdir():
        (data / "input" / path.stem).mkdir()
        path.rename(data / "input" / path.stem / "rain.png")
    how = {"lq": data / "input", "gt": data / "target"}
    found = find_pairs(None, "train", pair_by="{gt}\\rain", **how)
    assert found == find_pairs(None, "train", pair_by="{gt}/rain", **how)
    assert len(found) == 2


# ----------------------------------------------------------------------------------------------------- the terminal


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
@pytest.mark.parametrize("verb", verbs())
def test_help_takes_the_characters_that_there_are(monkeypatch, verb, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    stream.flush()
    assert b"usage: gesso" in stream.buffer.getvalue()


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("utf-8", "0.5 ± 0.1 ≥ – 中"), ("cp1252", r"0.5 ± 0.1 >= – \u4e2d"), ("ascii", r"0.5 +- 0.1 >= - \u4e2d")],
)
def test_what_is_said_takes_the_characters_that_there_are(monkeypatch, encoding, printed):
    """From Python, too, where nobody has told the stream what to do with others."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    monkeypatch.setattr(sys, "stdout", stream)
    text = "0.5 ± 0.1 ≥ – 中"
    console.say(text)
    console.warn(text)
    console.show_table(["name", "value"], [[text, text]], title=text)
    list(console.track([1, 2], text))
    stream.flush()
    lines = stream.buffer.getvalue().decode(encoding).splitlines()
    assert lines[0] == printed
    assert sum(printed in line for line in lines) >= 5
