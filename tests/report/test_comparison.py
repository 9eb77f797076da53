"""The page that answers: what it says, that it stands alone, and that it works under the hands."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from gesso.functional.random import generator_for
from gesso.report import tables, viewers
from gesso.report.comparison import Comparison, comparable
from gesso.report.page import write_report
from gesso.report.results import Cost, Facts, read_scores, write_scores
from gesso.report.viewers import Role, Subject, error_map, gain_map, make_viewers
from tests.report._browser import CHROMIUM, Browser
from tests.report._results import make_results, picture

MINE = "runs/mine/backbone.safetensors"
NEXT = "gesso finetune --task derain --data 'my <pairs>' --init ifp.safetensors --holdout 0 --out compared-best"
FAILURE = "the loss was not finite in <10> steps in a row"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare") / "results"
    make_results(folder, {"ifp": 0.6, "leaves-mfm": -0.6, MINE: 0.0}, pairs=(5, 10), failures={"noise-ifp": FAILURE})
    facts = Facts.read(folder)
    costs = facts.costs | {"ifp": replace(facts.costs["ifp"], recipe_steps=30_000)}
    replace(facts, costs=costs, next_commands={"random": "no", "ifp": NEXT}).write(folder)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(results):
    return results / "comparison.html"


class Reader(HTMLParser):
    """Collects text, attributes and open tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.words, self.elements, self.open, self.headings = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def test_scores_survive_their_file(tmp_path, results):
    rows = read_scores(results / "comparison.csv")
    write_scores(tmp_path / "again.csv", rows)
    assert (tmp_path / "again.csv").read_text() == (results / "comparison.csv").read_text()
    assert (tmp_path / "again.csv").read_text().splitlines()[0] == "seed,fold,start,step,image,psnr,ssim"


def test_facts_survive_their_file(results):
    facts = Facts.read(results)
    facts.write(results)
    assert Facts.read(results) == facts


def test_the_page_says_the_verdicts_first_and_in_one_sentence_each(results, page):
    text = Reader(page.read_text()).text
    verdicts = [str(verdict) for verdict in Comparison.read(results).verdicts]
    assert [verdict.split()[-1] for verdict in verdicts[:2]] == ["helps", "hurts"]
    assert "no difference found; this experiment could have seen 0." in verdicts[2]
    assert all(verdict in text for verdict in verdicts)
    assert text.index(verdicts[0]) < text.index("In numbers")


def test_the_headline_names_what_was_compared_and_the_next_command_follows_the_answer(results, page):
    text = Reader(page.read_text()).text
    assert "IFP, 500 of 30,000 steps: +0." in text
    assert "leaves-MFM: -0." in text  # all of its recipe
    places = [text.index(part) for part in ("IFP, 500 of", "IFP is best. Train it on all pairs", NEXT, "In numbers")]
    assert places == sorted(places)
    markdown = (results / "comparison.md").read_text()
    assert f"```sh\n{NEXT}\n```" in markdown


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ({"ifp": 0.0, "mfm": 0.0}, "Take random weights: nothing else was found to help."),
        ({"ifp": -0.6, "mfm": -0.8}, "Take random weights: everything else hurts."),
        ({"ifp": 0.6, "mfm": 0.9}, "MFM is best."),
    ],
)
def test_the_next_step_is_that_of_the_best_arm(tmp_path, gains, said):
    folder = make_results(tmp_path / "out", gains, images=4)
    replace(Facts.read(folder), next_commands={"random": "r", "ifp": "i", "mfm": "m"}).write(folder)
    sentence, command = Comparison.read(folder).next_step
    assert sentence.startswith(said)
    assert command == {"T": "r", "M": "m"}[said[0]]


@pytest.mark.parametrize("restores", [True, False])
def test_where_pairs_add_nothing_the_next_step_restores_without_them(tmp_path, restores):
    folder = make_results(tmp_path / "out", {"ifp": 0.6}, images=4)
    scores = list(read_scores(folder / "comparison.csv"))
    write_scores(
        folder / "comparison.csv", [s._replace(psnr=30.0) if (s.start, s.step) == ("ifp", 0) else s for s in scores]
    )
    lines = {"restoring_commands": {"ifp": "gesso restore"} if restores else {}, "next_commands": {"ifp": "i"}}
    replace(Facts.read(folder), **lines).write(folder)
    sentence, command = Comparison.read(folder).next_step
    assert ("IFP has 30.00 dB with no pair at all" in sentence) is restores
    assert command == ("gesso restore" if restores else "i")


@pytest.mark.parametrize(("peak", "again"), [(33.0, "with --steps 50, or"), (29.0, "with a lower learning rate, or")])
def test_it_says_where_a_start_was_best_before_the_end(tmp_path, peak, again):
    folder = make_results(tmp_path / "out", {"ifp": 0.6}, images=4)
    made = {("ifp", 0): 30.0, ("ifp", 50): peak}
    scores = [s._replace(psnr=made.get((s.start, s.step), s.psnr)) for s in read_scores(folder / "comparison.csv")]
    write_scores(folder / "comparison.csv", scores)
    replace(Facts.read(folder), restoring_commands={"ifp": "gesso restore"}).write(folder)
    comparison = Comparison.read(folder)
    (told,) = [doubt for doubt in comparison.doubts if doubt.startswith("Past the best")]
    best = f"{peak:.2f} dB after 50 steps" if peak > 30 else "30.00 dB with no pair"
    assert f"IFP ({best}, " in told
    assert not any("Still rising" in doubt and "IFP" in doubt for doubt in comparison.doubts)
    assert "random" not in told
    assert again in comparison.next_step[0]


@pytest.mark.parametrize(("unrestored", "said"), [(40.0, True), (12.0, False), (float("inf"), True)])
def test_it_says_where_nothing_restores(tmp_path, unrestored, said):
    folder = make_results(tmp_path / "out", {"ifp": 0.6}, images=4)
    replace(Facts.read(folder), input_psnr=unrestored).write(folder)
    doubts = Comparison.read(folder).doubts
    assert any("No start restores yet: IFP ends at" in doubt for doubt in doubts) is said


def test_every_run_that_is_left_out_is_named_and_a_reason_once(tmp_path):
    folder = make_results(tmp_path / "out", {"ifp": 0.6}, images=4)
    runs = {f"ifp, seed {seed}": "the loss was not finite" for seed in range(5)}
    replace(Facts.read(folder), left_out=runs | {"random, seed 7": "killed"}, failures={"ifp": "killed"}).write(folder)
    text = (write_report(folder).parent / "comparison.md").read_text()
    assert all(run in text for run in (*runs, "random, seed 7"))
    assert text.count("the loss was not finite") == 1


def test_the_page_holds_all_that_was_promised(page):
    reader = Reader(page.read_text())
    promised = [
        "In numbers", "While training", "How many pairs it takes", "Image by image", "Before and after",
        "Fine and coarse", "What it costs", "At equal total compute", "How it was measured",
    ]  # fmt: skip
    assert [heading for heading in reader.headings if heading in promised] == promised
    assert "gesso compare --task derain --data pairs --out compared" in reader.text
    assert "backbone: restormer_tiny" in reader.text
    assert f"noise-IFP failed: {FAILURE}" in reader.text


def test_the_page_stands_alone_and_is_small(page):
    reader = Reader(page.read_text())
    assert page.stat().st_size < 5_000_000
    for tag, attributes in reader.elements:
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", page.read_text())


def test_the_page_is_well_formed_and_every_control_has_a_label(page):
    reader = Reader(page.read_text())
    assert reader.open == []
    names = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(set(names)) == len(names)
    for tag, attributes in reader.elements:
        assert attributes.get("aria-labelledby", names[0]) in names
        assert tag != "img" or attributes["alt"]
    inside = re.findall(r"<label[^>]*>\s*([\w ]+?)\s*<(input|select)", page.read_text())
    viewer = [("Left", "select"), ("Right", "select"), ("Divider", "input"), ("Zoom", "input")]
    assert inside == [("Images chosen for", "select"), *viewer * page.read_text().count('class="viewer"')]
    assert page.read_text().count("<select") + page.read_text().count("<input") == len(inside)
    charts = [attributes for tag, attributes in reader.elements if tag == "svg"]
    assert all(attributes.get("role") == "img" for attributes in charts)


def test_sliders_show_the_best_median_and_worst_image_of_every_start(results):
    comparison = Comparison.read(results)
    assert [verdict.gains.start for verdict in comparison.ranked] == ["ifp", MINE, "leaves-mfm"]
    for verdict in comparison.verdicts:
        gains = verdict.gains
        order = [gains.images[i] for i in np.argsort(-gains.table.mean(0))]
        seen = {role.title: viewer.image for viewer in comparison.viewers if (role := viewer.role(gains.start))}
        assert seen == {"Largest gain": order[0], "Median gain": order[3], "Smallest gain": order[-1]}
    assert len({viewer.image for viewer in comparison.viewers}) == len(comparison.viewers)  # no picture is there twice
    labels = [layer.label for layer in comparison.viewers[0].layers]
    assert labels[:6] == ["input", "random", "IFP", "leaves-MFM", "mine/backbone", "ground truth"]
    assert "error of IFP" in labels


def test_markdown_has_verdicts_tables_and_the_command(results):
    text = (results / "comparison.md").read_text()
    assert "**IFP, 500 of 30,000 steps: +0." in text
    assert "| leaves-MFM |" in text
    assert "gesso compare --task derain" in text
    assert f"noise-IFP failed: {FAILURE}" in text


def test_figures_are_written_as_files_too(results):
    names = {path.stem for path in (results / "figures").glob("*.svg")}
    assert {"intervals", "learning-curves", "gain-curves", "pairs", "images-ifp", "spectra"} <= names


def test_at_equal_compute_a_start_pays_for_its_pretraining(results):
    comparison = Comparison.read(results)
    first = comparison.equal_compute[0]  # 30 s of 120 s are gone: 150 of 200 steps are left
    assert (first.label, first.budget, first.step) == ("IFP", 150, 150)
    lost = 3 * (np.exp(-150 / 60) - np.exp(-200 / 60))
    assert first.gain.mean == pytest.approx(comparison.verdicts[0].estimate.mean - lost, abs=1e-3)
    assert [row.label for row in comparison.equal_compute] == ["IFP", "leaves-MFM"]  # the file's cost is not known


@pytest.mark.parametrize(
    ("cost", "told"), [(100.0, "not measured so early"), (500.0, "pre-training alone takes longer")]
)
def test_a_pretraining_too_long_for_equal_compute_is_said(tmp_path, cost, told):
    folder = make_results(tmp_path / "long", {"ifp": 0.3}, images=2)
    facts = Facts.read(folder)
    replace(facts, costs=facts.costs | {"ifp": Cost(cost, 9, 120.0)}).write(folder)
    comparison = Comparison.read(folder)
    assert comparison.equal_compute[0].gain is None
    assert tables.equal_table(comparison)[1][-1] == told


def test_a_start_without_a_complete_seed_does_not_keep_the_others_from_a_verdict(results):
    rows = [row for row in read_scores(results / "comparison.csv") if row.start != "leaves-mfm" or row.fold == 0]
    assert {row.start for row in comparable(rows)} == {"random", "ifp", MINE}


def test_a_start_has_one_colour_where_another_has_no_verdict(tmp_path):
    folder = make_results(tmp_path / "out", {"ifp": 0.6, "mfm": -0.6}, images=4)
    rows = [row for row in read_scores(folder / "comparison.csv") if row.start != "ifp" or row.fold == 0]
    write_scores(folder / "comparison.csv", rows)
    text = write_report(folder).read_text()
    assert re.findall(r'class="verdict tone-(\d)">(\w+)', text) == [("2", "MFM")]
    assert re.search(r'class="tone-2">MFM', text)
    (drawn,) = re.findall(r"fill: var\(--tone-(\d)\)", (folder / "figures" / "intervals.svg").read_text())
    assert drawn == "2"


def test_nothing_to_compare_is_an_error(tmp_path):
    folder = make_results(tmp_path / "one", {"ifp": 0.2}, images=2)
    write_scores(folder / "comparison.csv", [r for r in read_scores(folder / "comparison.csv") if r.start == "random"])
    with pytest.raises(ValueError, match="nothing to compare"):
        write_report(folder)


def test_names_are_text_and_never_markup(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    page = write_report(make_results(tmp_path / "evil", {evil: 0.2}, images=2, failures={"b": evil}))
    assert "<img src=x" not in page.read_text()
    assert evil in Reader(page.read_text()).text


def test_a_comparison_without_pictures_still_gets_its_page(tmp_path):
    import shutil

    folder = make_results(tmp_path / "bare", {"ifp": 0.3}, seeds=1, images=4)
    shutil.rmtree(folder / "images")
    text = Reader(write_report(folder).read_text()).text
    assert "1 seed (interval over images only)" in text
    assert "Before and after" not in text


# ------------------------------------------------------------------------------------------------------- pictures


def test_pictures_are_shrunk_until_they_fit(monkeypatch):
    monkeypatch.setattr(viewers, "MOST_CHARACTERS", 200_000)
    noise = {
        kind: torch.rand(3, 400, 600, generator=generator_for(0, kind)) for kind in ("input", "truth", "random", "ifp")
    }
    subject = Subject("a.png", noise, [Role("ifp", "Largest gain", "", 0)])
    (viewer,) = make_viewers([subject], {"random": "random", "ifp": "IFP"})
    assert sum(len(layer.uri) for layer in viewer.layers) <= 200_000
    assert viewer.width / viewer.height == pytest.approx(1.5, abs=0.02)


def test_the_maps_show_where_the_error_is_and_who_is_closer():
    truth = picture(0)
    random, start = truth.clone(), truth.clone()
    random[:, :, :20] += 0.3
    start[:, :, -20:] += 0.3
    error = error_map(start, truth).mean(0)
    assert error[:, -1].min() > 0.8
    assert error[:, 0].max() < 0.1
    red, _, blue = gain_map(start, random, truth)
    assert (blue[:, 5] > red[:, 5]).all()
    assert (red[:, -5] > blue[:, -5]).all()


# -------------------------------------------------------------------------------------------------------- browser

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def browser(page):
    with Browser(page) as browser:
        yield browser


def plane(browser, name):
    return browser.value(f"getComputedStyle(document.querySelector('#viewer-1 .plane')).getPropertyValue('--{name}')")


def shown(browser, side):
    return browser.value(f"[...document.querySelectorAll('#viewer-1 img.{side}')].map(image => image.alt).join()")


@needs_chromium
def test_the_divider_moves_with_the_keyboard(browser):
    browser.value("document.querySelector('#viewer-1 [data-set=divide]').focus()")
    before = browser.value("document.querySelector('#viewer-1 .edge').getBoundingClientRect().left")
    browser.press("ArrowRight", times=20)
    after = browser.value("document.querySelector('#viewer-1 .edge').getBoundingClientRect().left")
    width = browser.value("document.querySelector('#viewer-1 .plane').clientWidth")
    assert plane(browser, "divide") == "70"
    assert after - before == pytest.approx(0.2 * width, abs=1.5)
    assert "30%" in browser.value("getComputedStyle(document.querySelector('#viewer-1 img.left')).clipPath")
    browser.press("Home")
    assert plane(browser, "divide") == "0"


@needs_chromium
def test_the_divider_changes_what_is_seen(browser):
    where = "(() => { const b = document.querySelector('#viewer-1 .stage').getBoundingClientRect();"
    where += "return {x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height, scale: 1}; })()"
    browser.value("document.querySelector('#viewer-1').scrollIntoView()")
    pictures = []
    for key in ("Home", "End"):
        browser.value("document.querySelector('#viewer-1 [data-set=divide]').focus()")
        browser.press(key)
        pictures.append(browser.screenshot(clip=browser.value(where)))
    assert pictures[0] != pictures[1]


@needs_chromium
def test_the_divider_follows_the_mouse(browser):
    browser.value("document.querySelector('#viewer-1').scrollIntoView()")
    box = browser.value(
        "(b => [b.x, b.y, b.width])(document.querySelector('#viewer-1 .plane').getBoundingClientRect())"
    )
    x, y, width = box
    browser.drag((x + 0.8 * width, y + 20), (x + 0.25 * width, y + 20))
    assert float(plane(browser, "divide")) == pytest.approx(25, abs=1)
    assert browser.value("document.querySelector('#viewer-1 [data-set=divide]').value") == plane(browser, "divide")


@needs_chromium
def test_both_sides_can_be_chosen_with_the_keyboard(browser):
    assert (shown(browser, "left"), shown(browser, "right")) == ("random", "IFP")
    browser.value("document.querySelector('#viewer-1 [data-side=right]').focus()")
    browser.press("End")
    assert shown(browser, "right").endswith("closer (blue), farther (orange)")
    browser.press("Home")
    assert shown(browser, "right") == "input"


@needs_chromium
def test_zoom_enlarges_and_arrow_keys_scroll(browser):
    browser.value("document.querySelector('#viewer-2 [data-set=zoom]').focus()")
    browser.press("ArrowRight", times=4)
    sizes = "(s => [s.clientWidth, s.scrollWidth])(document.querySelector('#viewer-2 .stage'))"
    visible, whole = browser.value(sizes)
    assert whole == pytest.approx(3 * visible, rel=0.02)
    browser.press("Tab")
    assert browser.value("document.activeElement.className").startswith("stage")


@needs_chromium
def test_every_control_can_be_reached_with_tab(browser):
    browser.value("document.activeElement.blur(); window.getSelection().removeAllRanges(); scrollTo(0, 0)")
    reached = set()
    for _ in range(80):
        browser.press("Tab")
        reached.add(browser.value("[...document.querySelectorAll('input, select')].indexOf(document.activeElement)"))
    assert set(range(13)) <= reached


@needs_chromium
def test_another_start_can_be_chosen_with_its_own_images(browser, results):
    comparison = Comparison.read(results)
    worst = comparison.ranked[-1].gains.start
    browser.value("document.querySelector('[data-choose]').focus()")
    browser.press("End")
    visible = "[...document.querySelectorAll('.viewer')].filter(v => !v.hidden)"
    titles = browser.value(f"{visible}.map(v => v.querySelector('h3').textContent).join()")
    assert titles == "Largest gain,Median gain,Smallest gain"
    images = browser.value(f"{visible}.map(v => v.querySelector('.stage').ariaLabel).join()").split(",")
    expected = {role.place: viewer.image for viewer in comparison.viewers if (role := viewer.role(worst))}
    assert images == [expected[place] for place in range(3)]
    right = browser.value(f"{visible}[0].querySelector('img.right').alt")
    assert right == comparison.labels[worst]
    browser.press("Home")
    assert browser.value(f"{visible}[0].querySelector('img.right').alt") == "IFP"


@needs_chromium
def test_text_can_be_read_in_dark_and_in_light(browser):
    contrast = """(() => {
      const light = c => c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
      const line = 'svg path[style*="stroke: var(--tone"]';
      const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const level = text => light(rgb(text)).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
      const paper = level(getComputedStyle(document.documentElement).backgroundColor);
      const inks = [...document.querySelectorAll('h1, h2, p, li, td, th, figcaption, summary, svg text, ' + line)];
      const kind = e => e.matches('svg text') ? 'fill' : e.matches(line) ? 'stroke' : 'color';
      const tint = e => getComputedStyle(e)[kind(e)];
      const ratio = a => (Math.max(a, paper) + .05) / (Math.min(a, paper) + .05);
      return [paper, Math.min(...inks.filter(e => !e.matches(line)).map(e => ratio(level(tint(e))))),
        Math.min(...inks.filter(e => e.matches(line)).map(e => ratio(level(tint(e)))))];
    })()"""
    papers = {}
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        papers[scheme], text, lines = browser.value(contrast)
        assert text >= 4.5  # WCAG 2.2, 1.4.3
        assert lines >= 3  # 1.4.11
    assert papers["light"] > 0.8
    assert papers["dark"] < 0.05


@needs_chromium
def test_nothing_runs_over_the_edge_of_a_narrow_screen(browser):
    browser.resize(360, 800)
    wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.table, pre, .stage')"
    wide += " && e.getBoundingClientRect().right > 360).map(e => e.outerHTML.slice(0, 80)).join()"
    assert browser.value(wide) == ""
    assert browser.value("document.documentElement.scrollWidth") <= 360
    browser.resize(1100, 900)


@needs_chromium
def test_on_a_phone_the_gain_is_in_sight_and_charts_can_be_read(browser):
    browser.resize(360, 800)
    places = browser.value(
        "[...document.querySelectorAll('table[aria-labelledby=scores] tr > :nth-child(2)')]"
        ".map(e => [e.textContent, e.getBoundingClientRect().left, e.getBoundingClientRect().right])"
    )
    assert places[0][0].startswith("gain (dB)")
    assert all(0 < left < right <= 360 for _, left, right in places)
    sizes = browser.value(
        "[...document.querySelectorAll('svg.chart')].map(e => parseFloat(getComputedStyle(e).fontSize)"
        " * e.getBoundingClientRect().width / e.viewBox.baseVal.width)"
    )
    assert len(sizes) > 5
    assert min(sizes) >= 12
    outside = browser.value(
        "[...document.querySelectorAll('svg.chart text')].filter(e => { const b = e.closest('svg')"
        ".getBoundingClientRect(), t = e.getBoundingClientRect();"
        "return t.left < b.left - 1 || t.right > b.right + 1; })"
        ".map(e => e.textContent).join()"
    )
    assert outside == ""
    browser.resize(1100, 900)


@needs_chromium
def test_the_next_command_is_copied_whole(browser):
    browser.value(
        "window.copied = ''; navigator.clipboard.writeText = async text => { window.copied = text; };"
        "document.querySelector('.next button').click()"
    )
    assert browser.value("window.copied") == NEXT


@needs_chromium
def test_the_page_asks_for_nothing_over_the_network(browser, page):
    asked = [url for url in browser.requests if not url.startswith(("data:", "about:"))]
    assert asked == [page.as_uri()]
