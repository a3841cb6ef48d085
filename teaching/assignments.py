"""Export the exercises to nbgrader's format: python teaching/assignments.py FOLDER [SOLUTION ...].

Each notebook of notebooks/solutions becomes FOLDER/source/NAME/NAME.ipynb: the answer stands in
the cell of its stub between nbgrader's marks, checks are locked tests with points, and the notes
for the teacher are left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

SOLUTIONS = Path(__file__).resolve().parent.parent / "notebooks" / "solutions"
POINTS = 2  # for each check
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
CONFIG = '''"""Settings of nbgrader for this course folder."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "learning-to-hash"
# A stub stays as it is: if the released cell raised an error, its check could not say what is wrong.
c.ClearSolutions.code_stub = {"python": "# Your answer goes here."}
c.Execute.timeout = 600
'''


def grading(grade_id: str, **what: object) -> dict:
    """Return nbgrader's metadata of one cell."""
    cell = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3}
    return {**cell, "grade_id": grade_id, **what}


def assignment(solution):
    """Return nbgrader's source version of a notebook with solutions."""
    cells, answers, checks = [], 0, 0
    for cell in solution.cells:
        tags = cell.metadata.get("tags", [])
        if "teacher" in tags:
            continue
        cell = nbformat.from_dict(cell)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:  # Chapters do not travel with an assignment, so links to them become text.
            cell.source = re.sub(r"\[([^]]*)\]\(\.\./[^)]*\)", r"\1", cell.source)
            cell.source = re.sub(r"\bSolutions\b", "Exercises", cell.source, count=1)
        if "solution" in tags:
            answers += 1
            stub = cells[-1]
            assert stub.cell_type == "code", "an answer follows the stub that it completes"
            stub.source += f"\n\n{BEGIN}\n{cell.source}\n{END}"
            stub.metadata["nbgrader"] = grading(f"answer-{answers}", solution=True)
            continue
        if "check" in tags:
            checks += 1
            about = grading(f"check-{checks}", grade=True, locked=True, points=POINTS)
            cell.metadata["nbgrader"] = about
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells, metadata=solution.metadata)


def main(folder: Path, solutions: list[Path]) -> None:
    """Write the course folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    for path in solutions:
        target = folder / "source" / path.stem / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(assignment(nbformat.read(path, as_version=4)), target)
    print(f"{len(solutions)} assignments are in {folder / 'source'}; next, there:")
    print(f"nbgrader generate_assignment {solutions[0].stem} --create")


if __name__ == "__main__":
    chosen = list(map(Path, sys.argv[2:])) or sorted(SOLUTIONS.glob("[0-9]*.ipynb"))
    main(Path(sys.argv[1]), chosen)
