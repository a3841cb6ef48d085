"""The pictures to play with: still, without a script; alive, in a browser; the same bytes."""

import html
import json
import re

import numpy as np
import pytest
from sklearn.svm import SVC
from test_book import BROWSER, need

from grh_helpers import HammingIndex, live

POINTS = [[3, 1], [2, 3], [-1, 3], [-3, 2], [-3, -1], [-1, -3], [1, -3], [2, -2]]
NORMALS = [[2, 1], [-1, 2], [3, -1], [1, 4], [1, -1], [-3, -2]]
TOY = np.array([[-0.5, 2], [2, 3], [0.5, 2], [3, -1], [-1.5, -2], [0.5, -2], [-0.5, 0.5], [-3, -2]])
SHIP = np.array([True] * 4 + [False] * 4)
ITEMS = {"s": "0111", "t": "0111", "u": "1101", "v": "0011",
         "w": "1001", "x": "1100", "y": "1010", "z": "1011"}  # fmt: skip
ALT = "A picture of eight points & three lines, with the codes beside the points."


def written(signs):
    return ["".join("1" if value > 0 else "0" for value in row) for row in signs]


def rounds(alpha, n_rounds=2):
    """GRH on chapter 4's toy: the codes after every step, and the lines of every round."""
    normals = np.array([[-1, 1], [2, 1], [0, 1]])
    first = now = np.where(TOY @ normals.T >= 0, 1, -1)
    codes, lines = [written(now)], [np.c_[normals, [0, 0, 0]]]
    same = SHIP[:, None] == SHIP
    for _ in range(n_rounds):
        wished = np.where(alpha * (same @ now / 4) + (1 - alpha) * first >= 0, 1, -1)
        svms = [SVC(kernel="linear").fit(TOY, target) for target in wished.T]
        lines.append(np.array([[*svm.coef_[0], svm.intercept_[0]] for svm in svms]))
        now = np.where(TOY @ lines[-1][:, :2].T + lines[-1][:, 2] >= 0, 1, -1)
        codes += [written(wished), written(now)]
    return codes, lines


def pictures():
    lines = live.turning_lines(POINTS, NORMALS, alt=ALT)
    # α = 1 is left out: the frogs of bit 1 tie, all its targets are +1, and no line can be trained.
    runs = {alpha: rounds(alpha) for alpha in np.linspace(0, 0.95, 20).round(2).tolist()}
    ball = live.radius_and_budget(ITEMS, "stvx", "0101", alt=ALT)
    return [lines, live.alpha_and_rounds(TOY, SHIP, runs, alt=ALT), ball]


@pytest.fixture(scope="module")
def all_three():
    return pictures()


def test_the_same_bytes_again_and_small(all_three):
    for one, other in zip(all_three, pictures(), strict=True):
        assert one.html == other.html and len(one.html.encode()) <= 20_000
        bundle = one._repr_mimebundle_()
        assert bundle == {"text/html": one.html, "text/plain": ALT}


def test_what_the_script_is_told_is_what_was_given(all_three):
    told = [
        json.loads(html.unescape(re.search(r'data-config="(.*?)"', p.html)[1])) for p in all_three
    ]
    assert told[0]["points"] == POINTS and told[0]["normals"] == NORMALS
    run = told[1]["runs"][told[1]["which"][told[1]["alpha"]]]
    assert told[1]["alphas"][told[1]["alpha"]] == 0.8 and len(told[1]["which"]) == 20
    assert run["codes"][1] == ["111"] * 4 + ["000"] * 2 + ["100"] * 2  # as chapter 4 works out
    assert told[2]["items"] == {name: int(code, 2) for name, code in ITEMS.items()}
    assert len(run["lines"]) == 3 and html.escape(ALT) in all_three[1].html


@pytest.fixture(scope="module")
def page_of(all_three, tmp_path_factory):
    """Open a page with all_three pictures in a browser; the argument is whether scripts run."""
    need()
    from playwright.sync_api import sync_playwright

    path = tmp_path_factory.mktemp("live") / "page.html"
    body = "\n".join(picture.html for picture in all_three)
    path.write_text(f"<!doctype html><meta charset='utf-8'>{body}", encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])

        def open_page(**options):
            page = browser.new_context(offline=True, **options).new_page()
            page.on("pageerror", lambda error: pytest.fail(str(error)))
            page.goto(path.as_uri())
            return page

        yield open_page


@pytest.mark.book
class TestInABrowser:
    def test_without_scripts_the_still_pictures_stay(self, page_of):
        page = page_of(java_script_enabled=False)
        images = page.locator("figure.grh-live img")
        assert images.count() == 3 and page.locator("input, output").count() == 0
        for image in images.all():
            assert image.get_attribute("alt") == ALT and image.bounding_box()["height"] > 150

    def test_on_a_phone_nothing_sticks_out(self, page_of):
        page = page_of(viewport={"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400

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
        page = page_of(has_touch=True)
        figure = page.locator("[data-grh=turning_lines]")
        said = figure.locator("output")
        point = figure.locator("[role=button]").first
        point.focus()
        page.keyboard.press("ArrowLeft")
        assert said.inner_text().startswith("Point a at (2.75, 1) has the code 101.")
        svg = figure.locator("svg[role=group]").bounding_box()

        def place(x, y):
            unit = 20 * svg["width"] / 220
            return svg["x"] + svg["width"] / 2 + x * unit, svg["y"] + svg["height"] / 2 - y * unit

        page.mouse.move(*place(2.75, 1))
        page.mouse.down()
        page.mouse.move(*place(-1, 4), steps=4)
        page.mouse.up()
        assert said.inner_text().startswith("Point a at (-1, 4) has the code 110.")
        page.mouse.move(*place(3, 3))  # let go: it stays
        assert said.inner_text().startswith("Point a at (-1, 4)")
        touch = page.context.new_cdp_session(page)
        for kind, at in [("Start", (-1, 4)), ("Move", (0, 3)), ("Move", (4, 4)), ("End", None)]:
            x, y = place(*at) if at else (0, 0)
            points = [{"x": x, "y": y}] if at else []
            event = {"type": f"touch{kind}", "touchPoints": points}
            touch.send("Input.dispatchTouchEvent", event)
        said.filter(has_text="Point a at (4, 4) has the code 111.").wait_for(timeout=3000)
        assert page.evaluate("scrollY") == 0  # the drag moved the point, not the page
        assert "code 111" in point.get_attribute("aria-label")

    def test_the_script_and_numpy_agree_on_every_code(self, page_of):
        labels = page_of().locator("[data-grh=turning_lines] [role=button]")
        bits = np.array(POINTS) @ np.array(NORMALS[:3]).T >= 0
        for label, row in zip(labels.all(), bits, strict=True):
            code = "".join("01"[bit] for bit in row * 1)
            assert label.get_attribute("aria-label").endswith(f"code {code}")

    def test_alpha_and_rounds_ring_what_flips(self, page_of):
        figure = page_of().locator("[data-grh=alpha_and_rounds]")
        said, rings = figure.locator("output"), figure.locator("[data-flip]")
        assert "flipped are d in bit 1; d, g in bit 3." in said.inner_text()
        assert rings.count() == 3
        alpha, stage = figure.locator("input").all()
        for step, number in enumerate([0, 3, 1, 1, 0]):  # LSH, 1A, 1B, 2A, 2B at α = 0.8
            stage.fill(str(step))
            assert rings.count() == number, step
        alpha.fill("9")  # 0.45: below one half no bit flips in step A
        stage.fill("1")
        assert "α = 0.45, round 1, step A: no bit flips" in said.inner_text()
        assert rings.count() == 0

    def test_radius_and_budget_by_keyboard_and_click(self, page_of):
        page = page_of()
        figure = page.locator("[data-grh=radius_and_budget]")
        said, rings = figure.locator("output[aria-live=polite]"), figure.locator("[data-taken]")
        same = "candidates 3 (s, t, u), 2 hits"
        told = (
            f"Query 0101. Radius 1: 5 of 16 buckets probed, {same}. Budget 3: {same}, the last at"
        )
        assert said.inner_text().startswith(told) and rings.count() == 3
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
        assert said.inner_text().startswith(told)

    def test_radius_and_budget_agree_with_the_index(self, page_of):
        """The index, for every query, every radius and every budget."""
        codes = np.array([[bit == "1" for bit in code] for code in ITEMS.values()])
        index, names = HammingIndex(codes), list(ITEMS)
        every = np.array([[bit == "1" for bit in f"{q:04b}"] for q in range(16)])
        figure = page_of().locator("[data-grh=radius_and_budget]")
        radius, budget, query = figure.locator("input").all()

        def told(found):
            found, hits = sorted(found), sum(name in "stvx" for name in found)
            shown = f"{len(found)} ({', '.join(found)})" if found else "0"
            return f"candidates {shown}, {hits} hit{'s' * (hits != 1)}"

        for q in range(16):
            query.fill(str(q))
            order, _ = index.kneighbors(every[[q]], k=8)
            for r in range(5):
                radius.fill(str(r))
                _, found = index.radius_search(every[[q]], r)
                said = figure.locator("output").inner_text()
                assert f"probed, {told([names[i] for i in found])}. Budget" in said
            for n in range(9):
                budget.fill(str(n))
                taken = {names[i] for i in order[0, :n]}
                said = figure.locator("output").inner_text().split(f"Budget {n}: candidates ")[1]
                assert set(re.findall(r"\b[s-z]\b", said.split("hit")[0])) == taken
