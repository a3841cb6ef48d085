"""The pictures to play with: still, without a script; alive, in a browser; the same bytes."""

import base64
import html
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.pyplot import imread
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_similarity
from test_book import BROWSER, need

from grh_helpers import GRH, LSH, HammingIndex, average_precision, precision_at_k
from grh_helpers.experiment import encode, ranking_split
from grh_helpers.live import Live

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book"))

import stills  # noqa: E402

WIDGETS = stills.widgets()  # of the notebooks: how they are stored, how they are made now
NORMALS = [[2, 1], [-1, 2], [3, -1], [1, 4], [1, -1], [-3, -2]]
ITEMS = {"s": "0111", "t": "0111", "u": "1101", "v": "0011",
         "w": "1001", "x": "1100", "y": "1010", "z": "1011"}  # fmt: skip


def told(picture):
    """What the script is told, read as a browser reads it."""
    return json.loads(html.unescape(re.search(r"data-config='(.*?)'", picture.html)[1]))


def test_five_chapters_have_one_each():
    assert [cell[:2] for cell in WIDGETS] == ["00", "02", "03", "04", "05"]


@pytest.mark.parametrize("cell", WIDGETS)
class TestOfTheNotebooks:
    def test_stored_are_the_present_script_and_picture(self, cell):
        stored, made = WIDGETS[cell]
        assert stored == made.html, "run the notebook again"

    def test_small_and_described(self, cell):
        _, made = WIDGETS[cell]
        assert len(made.html.encode()) <= 20_000 and len(made.alt) >= 100
        bundle = made._repr_mimebundle_()
        assert bundle == {"text/html": made.html, "text/plain": made.alt}

    def test_has_its_still_picture(self, cell):
        _, made = WIDGETS[cell]
        assert (stills.FOLDER / made.still).is_file(), "run: make stills"


def test_no_still_picture_is_left_over():
    kept = {path.name for path in stills.FOLDER.glob("*.svg")}
    assert kept == {made.still for _, made in WIDGETS.values()}, "run: make stills"


class TestLive:
    CONFIG = {"names": "it's <b>\"&amp;", "points": np.eye(2), "n": np.int64(3)}

    def test_same_arguments_same_bytes(self):
        one, other = (Live("turning_lines", "A & B", **self.CONFIG) for _ in range(2))
        assert one.html == other.html and one.still == other.still

    def test_what_the_script_is_told_is_what_was_given(self):
        found = told(Live("turning_lines", "A & B", **self.CONFIG))
        assert found == self.CONFIG | {"points": [[1, 0], [0, 1]], "n": 3}

    def test_another_configuration_does_not_get_the_picture_of_this_one(self):
        """It has none, and its description stands where scripts do not run."""
        _, made = next(iter(WIDGETS.values()))
        other = Live("ranking", 'Say "no" & go', **told(made) | {"queries": 3})
        assert made.still != other.still and "data:image/svg+xml,<" not in other.html
        assert 'alt="Say &quot;no&quot; &amp; go"' in other.html
        assert f"svg+xml,{'%3Csvg'}" in made.html and "svg+xml,'" in other.html

    def test_no_such_script(self):
        with pytest.raises(FileNotFoundError, match="no_such"):
            Live("no_such", "A picture")


@pytest.fixture(scope="module")
def browser():
    need()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def page_of(browser, tmp_path_factory):
    """Open a page with all pictures; the argument is whether scripts run."""
    path = tmp_path_factory.mktemp("live") / "page.html"
    body = "\n".join(made.html for _, made in WIDGETS.values())
    path.write_text(f"<!doctype html><meta charset='utf-8'>{body}", encoding="utf-8")

    def open_page(**options):
        page = browser.new_context(offline=True, **options).new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(path.as_uri())
        return page

    return open_page


@pytest.mark.book
@pytest.mark.parametrize("cell", WIDGETS)
def test_the_still_picture_is_what_the_script_draws(browser, cell):
    _, made = WIDGETS[cell]
    stored = (stills.FOLDER / made.still).read_text(encoding="utf-8")
    assert stills.drawn(browser.new_page(), made) == stored, "run: make stills"


@pytest.mark.book
class TestInABrowser:
    def test_without_scripts_the_still_pictures_stay(self, page_of):
        page = page_of(java_script_enabled=False)
        images = page.locator("figure.grh-live img")
        assert images.count() == 5 and page.locator("input, button, output").count() == 0
        for image, (_, made) in zip(images.all(), WIDGETS.values(), strict=True):
            assert image.get_attribute("alt") == made.alt and image.bounding_box()["height"] > 150

    def test_still_and_live_have_one_size(self, page_of):
        boxes = [
            [e.bounding_box() for e in page_of(java_script_enabled=on).locator(what).all()]
            for on, what in ((False, "figure > img"), (True, "figure > svg"))
        ]
        for still, alive in zip(*boxes, strict=True):
            assert abs(still["width"] - alive["width"]) < 1
            assert abs(still["height"] - alive["height"]) < 1

    @pytest.mark.parametrize("on", [False, True])
    def test_on_a_phone_nothing_sticks_out(self, page_of, on):
        page = page_of(viewport={"width": 400, "height": 800}, java_script_enabled=on)
        parts = ["figure", "figure > *", "button", "input", "output"]
        boxes = [e.bounding_box() for e in page.locator(", ".join(parts)).all()]
        assert len(boxes) >= 10 and all(box["x"] + box["width"] <= 400 for box in boxes)

    def test_the_name_of_a_live_picture_is_what_is_said(self, page_of):
        figures = page_of().locator("figure.grh-live").all()
        for figure in figures:
            said = figure.locator("output[aria-live=polite]").inner_text()
            assert figure.locator("> svg").get_attribute("aria-label") == said

    def test_lines_by_keyboard(self, page_of):
        page = page_of()
        figure = page.locator("[data-grh=turning_lines]")
        said = figure.locator("output[aria-live=polite]")
        assert "3 lines, turned by 0°: 5 of 6 regions hold points" in said.inner_text()
        turn, count = figure.locator("input").all()
        turn.focus()
        page.keyboard.press("ArrowRight")
        assert turn.get_attribute("aria-valuetext") == "1°" and "turned by 1°" in said.inner_text()
        count.focus()
        page.keyboard.press("End")
        assert "of 12 regions" in said.inner_text() and figure.locator("line").count() == 6
        figure.locator("button").click()
        assert "3 lines, turned by 0°: 5 of 6 regions" in said.inner_text()

    def test_points_by_keyboard_mouse_and_touch(self, page_of):
        page = page_of(has_touch=True, viewport={"width": 1000, "height": 1200})
        figure = page.locator("[data-grh=turning_lines]")
        figure.scroll_into_view_if_needed()
        said, scrolled = figure.locator("output"), page.evaluate("scrollY")
        point = figure.locator("[role=button]").first
        point.focus()
        page.keyboard.press("ArrowLeft")
        assert said.inner_text().startswith("Point K at (2.75, 1) has the code 101.")
        svg = figure.locator("svg[role=group]").bounding_box()

        def place(x, y):
            unit = 20 * svg["width"] / 220
            return svg["x"] + svg["width"] / 2 + x * unit, svg["y"] + svg["height"] / 2 - y * unit

        page.mouse.move(*place(2.75, 1))
        page.mouse.down()
        page.mouse.move(*place(-1, 4), steps=4)
        page.mouse.up()
        assert said.inner_text().startswith("Point K at (-1, 4) has the code 110.")
        page.mouse.move(*place(3, 3))  # let go: it stays
        assert said.inner_text().startswith("Point K at (-1, 4)")
        touch = page.context.new_cdp_session(page)
        for kind, at in [("Start", (-1, 4)), ("Move", (0, 3)), ("Move", (4, 4)), ("End", None)]:
            x, y = place(*at) if at else (0, 0)
            points = [{"x": x, "y": y}] if at else []
            event = {"type": f"touch{kind}", "touchPoints": points}
            touch.send("Input.dispatchTouchEvent", event)
        said.filter(has_text="Point K at (4, 4) has the code 111.").wait_for(timeout=3000)
        assert page.evaluate("scrollY") == scrolled  # the drag moved the point, not the page
        assert "code 111" in point.get_attribute("aria-label")

    def test_the_script_and_numpy_agree_on_every_code(self, page_of):
        config = told(WIDGETS["02_lsh_buckets, lsh-play"][1])
        assert config["normals"] == NORMALS
        labels = page_of().locator("[data-grh=turning_lines] [role=button]")
        bits = np.array(config["points"]) @ np.array(NORMALS[:3]).T >= 0
        for label, row in zip(labels.all(), bits, strict=True):
            code = "".join("01"[bit] for bit in row * 1)
            assert label.get_attribute("aria-label").endswith(f"code {code}")

    def test_alpha_and_rounds_ring_what_flips(self, page_of):
        figure = page_of().locator("[data-grh=alpha_and_rounds]")
        said, rings = figure.locator("output"), figure.locator("[data-flip]")
        assert "flipped are d in bit 1; d, g in bit 3." in said.inner_text()
        codes = "a 111, b 111, c 111, d 111, e 000, f 000, g 100, h 100."  # as chapter 4 works out
        assert said.inner_text().endswith(codes) and rings.count() == 3
        alpha, stage = figure.locator("input").all()
        for step, number in enumerate([0, 3, 1, 1, 0]):  # LSH, 1A, 1B, 2A, 2B at α = 0.8
            stage.fill(str(step))
            assert rings.count() == number, step
        stage.fill("1")
        # Means of four ±1 bits are 0, ±1/2, ±1; a bit m must overrule flips from 1/(1 + |m|) on.
        for value, flips in [(13, False), (14, True), (16, True), (19, True), (9, False)]:
            alpha.fill(str(value))
            assert f"α = {value / 20:.2f}, round 1, step A" in said.inner_text()
            assert (rings.count() > 0) == flips == ("no bit flips" not in said.inner_text())

    def test_radius_and_budget_by_keyboard_and_click(self, page_of):
        page = page_of()
        figure = page.locator("[data-grh=radius_and_budget]")
        said, rings = figure.locator("output[aria-live=polite]"), figure.locator("[data-taken]")
        same = "candidates 3 (s, t, u), 2 hits"
        text = (
            f"Query 0101. Radius 1: 5 of 16 buckets probed, {same}. Budget 3: {same}, the last at"
        )
        assert said.inner_text().startswith(text) and rings.count() == 3
        radius, budget, query = figure.locator("input").all()
        radius.focus()
        page.keyboard.press("ArrowRight")
        assert radius.get_attribute("aria-valuetext") == "2"
        assert "Radius 2: 11 of 16 buckets probed, candidates 6" in said.inner_text()
        assert figure.locator("[data-ball='2']").count() == 1
        budget.focus()
        page.keyboard.press("End")
        assert "Budget 8: candidates 8" in said.inner_text() and rings.count() == 8
        figure.locator("[data-code='1010']").click()
        assert said.inner_text().startswith("Query 1010.")
        assert query.get_attribute("aria-valuetext") == "1010"
        figure.locator("button").click()
        assert said.inner_text().startswith(text)

    def test_radius_and_budget_agree_with_the_index(self, page_of):
        """The index, for every query, every radius and every budget."""
        codes = np.array([[bit == "1" for bit in code] for code in ITEMS.values()])
        index, names = HammingIndex(codes), list(ITEMS)
        every = np.array([[bit == "1" for bit in f"{q:04b}"] for q in range(16)])
        figure = page_of().locator("[data-grh=radius_and_budget]")
        radius, budget, query = figure.locator("input").all()

        def shown(found):
            found, hits = sorted(found), sum(name in "stvx" for name in found)
            named = f"{len(found)} ({', '.join(found)})" if found else "0"
            return f"candidates {named}, {hits} hit{'s' * (hits != 1)}"

        for q in range(16):
            query.fill(str(q))
            order, _ = index.kneighbors(every[[q]], k=8)
            for r in range(5):
                radius.fill(str(r))
                _, found = index.radius_search(every[[q]], r)
                said = figure.locator("output").inner_text()
                assert f"probed, {shown([names[i] for i in found])}. Budget" in said
            for n in range(9):
                budget.fill(str(n))
                taken = {names[i] for i in order[0, :n]}
                said = figure.locator("output").inner_text().split(f"Budget {n}: candidates ")[1]
                assert set(re.findall(r"\b[s-z]\b", said.split("hit")[0])) == taken

    def test_ranking_by_keyboard_mouse_and_touch(self, page_of):
        page = page_of(has_touch=True)
        figure = page.locator("[data-grh=ranking]").first
        said, wrong = figure.locator("output[aria-live=polite]"), figure.locator("[data-wrong]")
        start = "LSH with 16 bits: 9 of the first ten show the digit of the query, 6."
        assert said.inner_text().startswith(start) and wrong.count() == 1
        pressed = figure.locator("[aria-pressed=true]")
        assert pressed.count() == 3
        figure.get_by_role("button", name="query 2, a picture of a 9").click()
        assert said.inner_text().startswith("LSH with 16 bits: 3 of the first ten")
        assert wrong.count() == 7 and figure.get_by_text(re.compile(r"^\d wrong$")).count() == 7
        figure.get_by_role("button", name="GRH svm").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        assert said.inner_text().startswith("GRH svm with 8 bits: 9 of the first ten")
        figure.get_by_role("button", name="64").tap()
        assert said.inner_text().startswith("GRH svm with 64 bits: 10 of the first ten")
        figure.get_by_role("button", name="exact").tap()
        assert said.inner_text().startswith("Exact search: ")
        assert figure.locator("button:disabled").count() == 4  # no code, no bits
        figure.get_by_role("button", name="LSH").tap()
        assert figure.locator("button:disabled").count() == 0 and pressed.count() == 3
        assert said.inner_text().startswith("LSH with 64 bits: 7 of the first ten")

    @pytest.mark.parametrize("chapter", [0, 5])
    def test_rankings_agree_with_the_package(self, page_of, digits, chapter):
        """All rankings: pictures and digits in order, groups of ties, and what is said of them."""
        split = ranking_split(digits) if chapter else digits.split()
        figure = page_of().locator("[data-grh=ranking]").nth(1 if chapter else 0)
        said, images = figure.locator("output"), figure.locator("svg image")
        button = {b.inner_text(): b for b in figure.locator("button").all()}
        shades = load_digits().images.astype(int) * 7 // 16
        labels = split.query_labels, split.database_labels
        lists = {("exact", None): -cosine_similarity(split.queries[:4], split.database)}
        scores = {}
        for name, method in {"LSH": LSH, "GRH svm": GRH}.items():
            for n_bits in (8, 16, 32, 64):
                codes = encode(method(n_bits, random_state=0), split)
                lists[name, n_bits] = (codes[0][:4, None] != codes[1]).sum(axis=2)
                scores[name, n_bits] = [
                    measure(*codes, *labels) for measure in (precision_at_k, average_precision)
                ]
        for q in range(4):
            figure.get_by_role("button", name=f"query {q + 1}").click()
            right = split.database_labels == split.query_labels[q]
            for (name, n_bits), distances in lists.items():
                button[name].click()
                if n_bits:
                    button[str(n_bits)].click()
                text, d = said.inner_text(), distances[q]
                ten = np.argsort(d, kind="stable")[:10]
                drawn = [split.query_index[q], *split.database_index[ten]]
                for image, row in zip(images.all(), drawn, strict=True):
                    bitmap = base64.b64decode(image.get_attribute("href").split(",")[1] + "=")
                    pixels = imread(io.BytesIO(bitmap), "bmp")[..., 0]
                    assert np.array_equal(np.rint(pixels / 36.4), shades[row]), (name, n_bits, q)
                order = ", ".join(map(str, split.database_labels[ten]))
                head = f"{right[ten].sum()} of the first ten show the digit of the query, "
                assert f": {head}{split.query_labels[q]}. In order: {order}." in text
                headings = figure.locator("svg text").all_text_contents()
                for value in np.unique(d[ten]) if n_bits else []:
                    assert f"dist. {value}" in headings
                    ties = [h for h in headings if h.endswith(f" of {np.sum(d == value)}")]
                    assert sum(int(h.split()[0]) for h in ties) >= np.sum(d[ten] == value)
                if not chapter:
                    assert "Precision" not in text
                    continue
                last = d == d[ten[-1]]
                before, cut = right[d < d[ten[-1]]].sum(), np.sum(last[ten])
                low = before + max(0, cut - np.sum(last & ~right))
                high = before + min(cut, np.sum(last & right))
                if n_bits:
                    mean, ap = (score[q] for score in scores[name, n_bits])
                else:
                    mean, ap = right[ten].mean(), average_precision_score(right, -d)
                order = "in any order of the ties"
                if low < high:
                    order = f"in this order of the ties, {low / 10:g} to {high / 10:g} in others"
                assert f"Precision at 10: {right[ten].mean():g} {order}" in text
                if low < high:
                    said_mean = float(re.search(r"others, (\S+) in expectation", text)[1])
                    assert abs(said_mean - mean) <= 0.005 + 1e-9
                assert abs(float(re.search(r"Average precision: (.*)\.$", text)[1]) - ap) <= 0.0056
