"""The page in a real browser: it sorts, draws and saves, fits its window, and speaks to nobody."""

import json
import os
import re
import shutil
from html import unescape

import pytest

from recbole_genrec.report import read_results, write_report
from recbole_genrec.report.page import SCRIPT
from recbole_genrec.report.stored_runs import differing_settings

GOOD, BAD = [1, 2, 1, 3, 0, 1] * 10, [0, 9, 0, 10, 0, 4] * 10
HOSTILE = (
    "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'><a href='https://host.invalid'>x</a>"
)
METRICS = ("hit", "ndcg")


@pytest.fixture
def results(tmp_path, write_run):
    """Twelve rows of three models, six metrics; titles, settings and a model's name try to break out."""
    (tmp_path / "toy").mkdir()
    rows = "".join(f"i{item}\t{HOSTILE} {item}\n" for item in range(1, 31))
    (tmp_path / "toy/toy.item").write_text(f"item_id:token\ttitle:token_seq\n{rows}", "utf-8")
    for number in range(9):
        own = {"learning_rate": number / 10, "prompt": HOSTILE + str(number), "data_path": str(tmp_path / "toy")}
        tested = {f"{name}@{k}": round(0.1 + number * k / 1000, 4) for name in METRICS for k in (5, 10, 20)}
        changes = {"test_result": tested, "test_interval": {name: [0.05, 0.3] for name in tested}}
        changes |= {"parameters": {"total": 1_062_016}, "seconds": {"train": 12_345.0, "total": 12_400.0}}
        places = GOOD[number:] + GOOD[:number]
        write_run("GenRecSeq2Seq", 1, places, folder=f"results/{number}", config=own, **changes)
    write_run("SASRec", 1, BAD)
    write_run("SASRec", 2, BAD[1:] + BAD[:1])
    write_run(HOSTILE.replace("/", "\N{DIVISION SLASH}"), 1, BAD, folder="results/other")
    return tmp_path / "results"


class TestMarkup:
    def test_titles_names_and_settings_are_data(self, results):
        text = write_report(results)[-1].read_text("utf-8")
        own = re.findall(r"<script(?: [^>]*)?>", text)
        drawn = text.count('type="application/json"')
        assert len(own) == drawn + 2 and f'<script src="{SCRIPT}">' in own and "<img" not in text
        for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S):
            assert "<" not in data
            shown = json.dumps(json.loads(data), ensure_ascii=False)
            assert "<script" not in shown and "<a " not in shown and "<img" not in shown
        assert HOSTILE + "3" in unescape(text)

    def test_settings_that_differ_and_no_others(self, tmp_path, write_run):
        for scheme in ("title", "hybrid"):
            shared = {"adapter": "lora", "item_indexing": scheme, "lora_r": 4 if scheme == "title" else 8}
            write_run("GenRec", 1, folder=f"results/{scheme}", config=shared)
        write_run("SASRec", 1)
        (board,) = read_results(tmp_path / "results").boards
        keys, values = differing_settings(board.rows)["GenRec"]
        assert keys == ["item_indexing", "lora_r"] and "SASRec" not in differing_settings(board.rows)
        assert sorted(values.values()) == [["hybrid", "8"], ["title", "4"]]
        text = write_report(tmp_path / "results")[-1].read_text("utf-8")
        table = re.search(r'<table class="settings">.*?</table>', text, re.S)[0]
        assert "item_<wbr>indexing" in table and "adapter" not in table

    def test_what_stands_behind_a_figure(self, tmp_path, write_run):
        path = write_run("GenRec", 7, GOOD, test_interval={"ndcg@10": [0.123456, 0.654321]})
        write_run("SASRec", 7, BAD)
        text = unescape(write_report(tmp_path / "results")[-1].read_text("utf-8"))
        assert f"95 % interval over users: 0.1235 to 0.6543\n{path}" in text and "GenRec, seed 7: ndcg@10" in text
        assert re.search(r"Against GenRec: p [<=] \.\d+ over users", text)

    def test_the_script_is_written_once(self, results):
        script = write_report(results)[-1].with_name(SCRIPT)
        os.utime(script, (1, 1))
        write_report(results)
        assert script.stat().st_mtime == 1
        script.write_text("cut off")
        write_report(results)
        assert script.stat().st_size > 1_000_000


@pytest.fixture
def open_page(results):
    """Open the report of ``results`` in Chromium, in a window of some width."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium or Chrome is installed")
    address = write_report(results)[-1].as_uri()
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])

        def opened(width, drawn=True, **options):
            page = chromium.new_page(viewport={"width": width, "height": 800}, **options)
            page.set_default_timeout(120_000)
            page.said, page.asked = [], []
            page.on("console", lambda message: page.said.append(message.text))
            page.on("pageerror", lambda error: page.said.append(str(error)))
            page.on("request", lambda request: page.asked.append(request.url))
            page.goto(address)
            if drawn:
                page.wait_for_function(DRAWN)
            return page

        yield opened
        chromium.close()


#: whether every picture has something drawn in it.
DRAWN = """() => [...document.querySelectorAll(".plotly-graph-div")].every(
  each => each.querySelector(".main-svg .point, .main-svg .js-line"))"""
WIDTHS = """() => ({page: document.scrollingElement.scrollWidth, window: innerWidth,
  wide: [...document.querySelectorAll(".wide")].map(each => each.scrollWidth - each.clientWidth)[0],
  pictures: Math.max(...[...document.querySelectorAll(".main-svg")].map(each => each.getBoundingClientRect().right)),
})"""
UNNAMED = """() => [...document.querySelectorAll("svg[role=img], button, [role=region], .plotly-graph-div")].filter(
  each => !each.closest(".main-svg") && !(each.getAttribute("aria-label") || each.textContent.trim())).length"""
FIRST = 'document.querySelector(".results").tBodies[0]'


def column(page, number):
    return page.evaluate(f"[...{FIRST}.rows].map(row => row.cells[{number}].textContent)")


class TestInABrowser:
    def test_it_sorts_shows_saves_and_asks_nobody(self, open_page, tmp_path):
        page = open_page(1280)
        assert page.evaluate("window.broken") is None
        widths = page.evaluate(WIDTHS)
        assert widths["page"] <= widths["window"] and widths["wide"] == 0 and widths["pictures"] <= 1280
        self.check_sorting(page)
        self.check_tips(page)
        for ending, beginning in (("svg", b"<svg"), ("png", b"\x89PNG")):
            with page.expect_download() as download:
                page.locator(f'button[data-format="{ending}"]').first.click()
            download.value.save_as(tmp_path / f"picture.{ending}")
            assert (tmp_path / f"picture.{ending}").read_bytes().startswith(beginning)
            assert download.value.suggested_filename == f"toy-ndcg-10-by-model.{ending}"
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.other = 1'}))"
        )
        assert page.evaluate("window.other") is None  # the page's policy
        assert len(page.said) == 1 and "Content Security Policy" in page.said.pop()
        assert {address.partition(":")[0] for address in page.asked} <= {"file", "data", "blob"}

    def check_sorting(self, page):
        heads = page.locator(".results th[aria-sort]")
        names = [re.sub(r"\W+$", "", text) for text in heads.all_inner_texts()]
        assert names[:3] == ["model", "ndcg@10", "interval"]
        figures = heads.nth(1).get_by_role("button")
        figures.click()
        assert heads.nth(1).get_attribute("aria-sort") == "descending"
        values = [float(re.match(r"[\d.]+", text)[0]) for text in column(page, 1)]
        assert values == sorted(values, reverse=True) and len(set(values)) > 5
        figures.press("Enter")
        assert heads.nth(1).get_attribute("aria-sort") == "ascending"
        assert [float(re.match(r"[\d.]+", text)[0]) for text in column(page, 1)] == sorted(values)
        heads.nth(0).get_by_role("button").press("Space")
        assert heads.nth(0).get_attribute("aria-sort") == "ascending"
        assert heads.nth(1).get_attribute("aria-sort") == "none"
        shown = column(page, 0)
        assert "learning_rate=0.8" in shown[-2] and shown[-1] == "SASRec" and len(shown) == 11
        empty = names.index("hit@20")  # the rows of other models do not have it: last, both ways
        for _ in range(2):
            heads.nth(empty).get_by_role("button").click()
            assert column(page, empty)[-2:] == ["", ""] and "" not in column(page, empty)[:-2]

    def check_tips(self, page):
        cell, tip = page.locator(".results td[data-tip]").first, page.locator("#tip")
        assert not tip.is_visible()
        cell.focus()
        assert tip.is_visible() and "seed 1" in tip.inner_text() and ".json" in tip.inner_text()
        assert cell.get_attribute("aria-describedby") == "tip"
        page.keyboard.press("Escape")
        assert not tip.is_visible()
        cell.hover()
        assert tip.is_visible()

    def test_it_fits_a_phone_and_is_dark(self, open_page):
        page = open_page(390, color_scheme="dark")
        widths = page.evaluate(WIDTHS)
        assert widths["page"] <= widths["window"] == 390 and widths["pictures"] <= 390
        ground, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert ground == "rgb(22, 24, 28)" and ink == "rgb(232, 232, 232)"
        fills = page.evaluate('[...document.querySelectorAll(".xtick text")].map(each => getComputedStyle(each).fill)')
        assert set(fills) == {ink}
        frame = page.locator(".wide").first
        frame.evaluate("each => { each.scrollLeft = 200 }")
        heads = page.locator(".results tbody th").first
        assert heads.bounding_box()["x"] == pytest.approx(frame.bounding_box()["x"], abs=1)  # the first column stays
        assert page.evaluate(UNNAMED) == 0 and page.said == []

    def test_without_the_script_the_page_says_so(self, open_page, results):
        (results / SCRIPT).write_text("")
        page = open_page(390, drawn=False)
        assert page.locator(".plotly-graph-div").first.inner_text().startswith(f"No picture: the file {SCRIPT} is not")
        page.locator(".results th button").first.click()  # the rest works
        assert page.locator(".results th").first.get_attribute("aria-sort") == "ascending"
