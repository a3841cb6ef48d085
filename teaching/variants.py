"""Draw pencil questions with numbers of one's own: python teaching/variants.py SEED FOLDER.

Writes FOLDER/SEED/questions.ipynb for the student and answers.ipynb for the teacher. A question is
a text and an answer that the numbers of the seed decide; its check compares a digest of the answer.
"""

from __future__ import annotations

import hashlib
import sys
from fractions import Fraction
from math import comb
from pathlib import Path

import nbformat
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "notebooks"))

from _build import blank, write  # noqa: E402

CHECK = """answer = str(answer_{n}).replace(" ", "")
assert answer != "None", "question {n} has no answer yet"
digest = hashlib.sha256(f"{seed}/{n}/{{answer}}".encode()).hexdigest()
assert digest[:12] == "{digest}", "the answer to question {n} is not right, or not in the form asked for"
print("question {n}: correct")"""


def overlap(rng) -> tuple[str, object]:
    """Chapter 1: how many queries a leaky split puts into the training set."""
    rows, queries, train = rng.choice([1200, 1500, 2000, 2400]), *rng.choice([60, 90, 150, 240], 2)
    text = (
        f"(Chapter 1.) A split draws {queries} queries and, independently, {train} training rows from all {rows:,} rows. "
        "How many queries are in the training set on average? Give a `Fraction`."
    )
    return text, Fraction(int(queries) * int(train), int(rows))


def codes(rng) -> tuple[str, object]:
    """Chapter 2: the codes of five points for three lines through the origin."""
    places = [(x, y) for x in range(-4, 5) for y in range(-4, 5) if x or y]
    points = rng.permutation(places)[:5]
    directions = [(1, 2), (2, 1), (1, -1), (3, -1), (-1, 3), (3, 2), (-2, 3), (1, 1)]
    normals = rng.permutation(directions)[:3] * rng.choice([-1, 1], (3, 1))
    text = (
        f"(Chapter 2.) Five points: `{points.tolist()}`. Three lines through the origin have the normals `{normals.tolist()}`. "
        "Give the keys of the five points, as a list of five whole numbers; the first line gives the most significant of three bits."
    )
    return text, ((points @ normals.T >= 0) @ [4, 2, 1]).tolist()


def agreement(rng) -> tuple[str, object]:
    """Chapter 2: the chance that two images share a bucket, and how many do."""
    angle, k = int(rng.choice([36, 45, 60, 72, 90, 120])), int(rng.integers(2, 5))
    text = (
        f"(Chapter 2.) Two images are {angle}° apart. With which probability do they share their bucket of {k} bits "
        "of random hyperplanes? Give a `Fraction`."
    )
    return text, (1 - Fraction(angle, 180)) ** k


def probes(rng) -> tuple[str, object]:
    """Chapter 3: probes of a radius, without chunks and with them."""
    m, width = int(rng.choice([2, 3, 4])), int(rng.choice([6, 8, 10]))
    radius = int(rng.integers(m, 2 * m))  # For larger ones an even spread may not be the cheapest.
    s, a = divmod(radius, m)
    radii = [s] * (a + 1) + [s - 1] * (m - a - 1)
    whole = sum(comb(m * width, i) for i in range(radius + 1))
    cut = sum(comb(width, i) for r in radii for i in range(r + 1))
    text = (
        f"(Chapter 3.) Codes of {m * width} bits are searched within radius {radius}. How many buckets are probed without chunks, "
        f"and how many, at the least, if the code is cut into {m} chunks of {width} bits, so that no code is missed? "
        "Give a tuple of two whole numbers."
    )
    return text, (whole, cut)


def flips(rng) -> tuple[str, object]:
    """Chapter 4: the threshold of alpha at which a bit flips."""
    k = int(rng.integers(5, 12))
    against = int(rng.integers(k // 2 + 1, k))
    votes = rng.permutation([1] * against + [-1] * (k - 1 - against)).tolist()
    m = Fraction(2 * against - k, k)
    text = (
        f"(Chapter 4.) An image has the bit −1. Its other neighbours have `{votes}`, and it is a neighbour of its own. "
        "Above which α does the bit flip in the first round, if the mean is blended as it is? Give a `Fraction`."
    )
    return text, 1 / (1 + m)


def ties(rng) -> tuple[str, object]:
    """Chapter 5: the expected precision of a ranking with ties."""
    near, far = int(rng.integers(2, 6)), int(rng.integers(6, 12))
    hits, more = int(rng.integers(0, near + 1)), int(rng.integers(1, far))
    k = near + int(rng.integers(1, 5))
    text = (
        f"(Chapter 5.) {near} items are at Hamming distance 0 of a query, {hits} of them relevant, and {far} at distance 1, "
        f"{more} of them relevant. What is the expected precision@{k} if ties are in random order? Give a `Fraction`."
    )
    return text, Fraction(hits * far + (k - near) * more, far * k)


QUESTIONS = (overlap, codes, agreement, probes, flips, ties)


def notebook(seed: int):
    """Return the questions of one seed with their answers, tagged like the series' solutions."""
    new = nbformat.v4
    cells = [
        new.new_markdown_cell(
            f"# Solutions: pencil questions, set {seed}\n\nThe numbers of this set are yours alone. Work with a pencil, "
            "write the answer into the cell, and run the check. Hand in your working as well."
        ),
        new.new_code_cell("import hashlib\nfrom fractions import Fraction"),
    ]
    for n, question in enumerate(QUESTIONS, start=1):
        text, answer = question(np.random.default_rng([seed, n]))
        digest = hashlib.sha256(f"{seed}/{n}/{answer}".replace(" ", "").encode()).hexdigest()[:12]
        cells += [
            new.new_markdown_cell(f"## Question {n}\n\n{text}"),
            new.new_code_cell(f"answer_{n} = None  # Your answer goes here."),
            new.new_code_cell(f"answer_{n} = {answer!r}", metadata={"tags": ["solution"]}),
            new.new_code_cell(
                CHECK.format(n=n, seed=seed, digest=digest), metadata={"tags": ["check"]}
            ),
        ]
    for i, cell in enumerate(cells):
        cell.id = f"question-{i:02}"
    return new.new_notebook(cells=cells)


def main(seed: int, folder: Path) -> None:
    """Write both notebooks of one seed."""
    folder = folder / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    answers = notebook(seed)
    write(answers, folder / "answers.ipynb")
    write(blank(answers), folder / "questions.ipynb")
    print(f"{folder / 'questions.ipynb'} is for the student, answers.ipynb beside it for you.")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
