"""What is handed to teachers: figures, minutes, sections and marks agree with the series."""

import ast
import re
import sys

import numpy as np
import pytest
from test_notebooks import FOLDER, prose, read, untied_figures, wrong_figures

from grh_helpers import graph_step
from grh_helpers.checkpoints import recorded

ROOT = FOLDER.parent
TEACHING = ROOT / "teaching"
sys.path.insert(0, str(TEACHING))

import worksheet  # noqa: E402

PAGES = sorted(TEACHING.glob("*.md"))
RUN_SHEETS = (TEACHING / "run_sheets.md").read_text(encoding="utf-8")
QUESTIONS = (TEACHING / "questions.md").read_text(encoding="utf-8")


def stem(path):
    return path.name


@pytest.mark.parametrize("path", PAGES, ids=stem)
class TestEveryPage:
    def test_quoted_figures_are_the_recorded_ones(self, path):
        assert wrong_figures(path.read_text(encoding="utf-8"), recorded) == []

    def test_no_loose_figure(self, path):
        text = re.sub(r"[\d.]+ ms<!--given-->|Python 3\.\d+", "", path.read_text(encoding="utf-8"))
        assert untied_figures(text) == []

    def test_links_lead_to_files_and_sections(self, path):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if target.startswith("http"):
                continue
            file, _, section = target.partition("#")
            assert (path.parent / file).exists(), target
            if section and file.endswith(".ipynb"):
                text = "\n".join(prose(read(path.parent / file)))
                headings = re.findall(r"^#+ (.+)$", text, re.M)
                assert section in [heading.replace(" ", "-") for heading in headings], target

    def test_every_make_target_exists(self, path):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", text, re.M)) <= targets


def test_minutes_of_each_session_add_up_to_90():
    sessions = re.split(r"^##+ ", RUN_SHEETS, flags=re.M)
    timed = 0
    for session in sessions:
        if rows := re.findall(r"^\| (\d+) to (\d+) \|", session, re.M):
            timed += 1
            ends = [(int(start), int(end)) for start, end in rows]
            assert ends[0][0] == 0 and ends[-1][1] == 90, session[:60]
            assert all(a[1] == b[0] for a, b in zip(ends, ends[1:], strict=False)), session[:60]
    assert timed == 4
    sums = re.findall(r"^\| \d \|[^|]*\| ([\d+ ]+) \|", RUN_SHEETS, re.M)
    assert len(sums) == 6 and all(sum(map(int, row.split("+"))) == 90 for row in sums)


def test_polls_that_the_run_sheets_name_exist_and_have_one_right_answer():
    polls = re.split(r"^\*\*(\d+[a-z])\.\*\* ", QUESTIONS, flags=re.M)
    found = dict(zip(polls[1::2], polls[2::2], strict=True))
    assert {re.match(r"\d+", name)[0] for name in found} == {str(n) for n in range(11)}
    for name, text in found.items():
        (answer,) = re.findall(r"\*\*Answer: ([A-D])", text)
        options = re.findall(r"\(([A-D])\) ", text.split("**Answer")[0])
        assert options == list("ABCD")[: len(options)] and answer in options, name
    named = re.findall(r"\b(\d+[a-e])\b", " ".join(re.findall(r"polls? ([^;|:]+)", RUN_SHEETS)))
    assert named and set(named) <= set(found)


def test_marks_of_each_exam_question_add_up():
    questions = re.findall(
        r"\*\*Exam question\*\* \[(\d+)\]\.(.*?)\*Model answer\.\*", QUESTIONS, re.S
    )
    assert len(questions) == 11
    for total, text in questions:
        assert int(total) == sum(map(int, re.findall(r"\[(\d+)\]", text))), text[:60]


def test_marks_of_the_project_add_up_to_100():
    project = (TEACHING / "project.md").read_text(encoding="utf-8")
    assert sum(map(int, re.findall(r"^\| (\d+) \|", project, re.M))) == 100


class TestWorksheet:
    def test_same_bytes_each_time_and_as_stored(self, tmp_path):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            worksheet.write(tmp_path / folder)
        for name in ("worksheet.pdf", "worksheet_answers.pdf"):
            one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
            assert one == two and b"/Count 4" in one
            assert abs(len(one) - (TEACHING / name).stat().st_size) < 2000, "run: make worksheet"

    def test_toys_are_those_of_the_chapters(self):
        def literal(path, pattern):
            code = "\n".join(c.source for c in read(FOLDER / path).cells if c.cell_type == "code")
            return ast.literal_eval(re.search(pattern, code, re.S)[1])

        two, three, four = "02_lsh_buckets.ipynb", "03_hamming_search.ipynb", "04_grh_steps.ipynb"
        points, normals = (
            rf"\b{name} = np\.array\(\s*(\[\[.*?\]\])\s*\)" for name in ("points", "normals")
        )
        assert literal(two, points) == worksheet.POINTS_2.tolist()
        assert literal(two, normals) == worksheet.NORMALS_2.tolist()
        assert literal(three, r"items = (\{.*?\})") == worksheet.ITEMS_3
        assert literal(four, points) == worksheet.POINTS_4.tolist()
        assert literal(four, normals) == worksheet.NORMALS_4.tolist()
        assert literal(four, r"written\(toy_L1\) == (\[.*?\])") == worksheet.LEARNED_4

    def test_step_a_agrees_with_the_package(self):
        first = np.where(worksheet.POINTS_4 @ worksheet.NORMALS_4.T >= 0, 1, -1)

        def mean(signs):
            halves = [signs[worksheet.SHIP].mean(axis=0), signs[~worksheet.SHIP].mean(axis=0)]
            return np.array(halves)[(~worksheet.SHIP).astype(int)]

        expected = graph_step(first > 0, first > 0, mean, worksheet.ALPHA)
        for bit in range(3):
            rows = worksheet.step_a(first[:, bit], first[:, bit])
            assert [row[-2] == "+1" for row in rows] == expected[:, bit].tolist()
            flips = (expected != (first > 0))[:, bit]
            assert [row[-1] == "flips" for row in rows] == flips.tolist()
