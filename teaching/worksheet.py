"""Make the pencil worksheet and its answers: the toys of chapters 2, 3 and 4 on four pages.

python teaching/worksheet.py [FOLDER]
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_pdf import PdfPages

NAMES = list("abcdefgh")  # chapter 4
NAMES_2 = list("KLMNQRST")
POINTS_2 = np.array([[3, 1], [2, 3], [-1, 3], [-3, 2], [-3, -1], [-1, -3], [1, -3], [2, -2]])
NORMALS_2 = np.array([[2, 1], [-1, 2], [3, -1]])
ITEMS_3 = dict(zip("stuvwxyz", "0111 0111 1101 0011 1001 1100 1010 1011".split(), strict=True))
QUERY_3 = "0101"
POINTS_4 = np.array(
    [[-0.5, 2], [2, 3], [0.5, 2], [3, -1], [-1.5, -2], [0.5, -2], [-0.5, 0.5], [-3, -2]]
)
NORMALS_4 = np.array([[-1, 1], [2, 1], [0, 1]])
LEARNED_4 = "111 111 111 111 000 000 100 000".split()  # Step B of chapter 4, after one round.
SHIP = np.arange(8) < 4
ALPHA = 0.8
WIDTH, HEIGHT = 8.27, 11.69  # A4 in inches.


def written(bits) -> str:
    """Write bits as a code such as 101."""
    return "".join("01"[int(bit)] for bit in bits)


def step_a(current: np.ndarray, first: np.ndarray) -> list[list[str]]:
    """Return the rows of step A's table for one bit: L0, m, both terms, sum, sign, change."""
    mean = np.where(SHIP, current[SHIP].mean(), current[~SHIP].mean())
    total = ALPHA * mean + (1 - ALPHA) * first
    after = np.where(total >= 0, 1, -1)
    change = np.where(after != current, "flips", "")
    columns = (mean, ALPHA * mean, (1 - ALPHA) * first, total)
    numbers = [[f"{value:+.1f}" for value in np.round(column, 9)] for column in columns]
    return [list(row) for row in zip(*numbers, [f"{s:+d}" for s in after], change, strict=True)]


class Page:
    """One A4 page that is filled from the top."""

    def __init__(self, title: str, answers: bool) -> None:
        self.figure = plt.figure(figsize=(WIDTH, HEIGHT))
        self.answers, self.y = answers, 0.955
        self.text(title + (": answers" if answers else ""), size=15, weight="bold")
        self.text("Name:" if not answers else "For the teacher", size=10, gap=0.028)

    def text(self, words: str, size=10, gap=0.006, wide=100, **style) -> None:
        """Write text in lines of at most `wide` characters."""
        words = "\n".join(textwrap.fill(line, wide) for line in words.split("\n"))
        lines = words.count("\n") + 1
        self.figure.text(0.08, self.y, words, size=size, va="top", linespacing=1.35, **style)
        self.y -= lines * size * 1.35 / 72 / HEIGHT + gap

    def answer(self, words: str, gap: float = 0.03) -> None:
        """Write an answer, or leave as much room for it."""
        below = self.y - gap
        if self.answers:
            self.text(words, style="italic", weight="bold", wide=88)
        self.y = below

    def table(
        self, head: list[str], rows: list[list[str]], given: int, height=0.021, widths=None
    ) -> None:
        """Draw a table; the first `given` columns are filled in on the blank sheet too."""
        tall = height * (len(rows) + 1)
        axes = self.figure.add_axes((0.08, self.y - tall, 0.84, tall))
        axes.axis("off")
        shown = [[c if self.answers or i < given else "" for i, c in enumerate(r)] for r in rows]
        head, *shown = ([cell.replace("-", "−") for cell in row] for row in (head, *shown))
        table = axes.table(
            shown, colLabels=head, bbox=(0, 0, 1, 1), cellLoc="center", colWidths=widths
        )
        table.auto_set_font_size(False)
        table.set_fontsize(10)
        for (row, column), cell in table.get_celld().items():
            cell.set_linewidth(0.6)
            cell.set_facecolor("0.92" if row == 0 or column < given else "white")
        self.y -= tall + 0.018

    def plane(self, size: float, half_width: int, left: float = 0.08):
        """Add a plane with a grid of whole numbers."""
        axes = self.figure.add_axes(
            (left, self.y - size * WIDTH / HEIGHT, size, size * WIDTH / HEIGHT)
        )
        axes.set(xlim=(-half_width, half_width), ylim=(-half_width, half_width), aspect="equal")
        axes.set_xticks(range(-half_width, half_width + 1))
        axes.set_yticks(range(-half_width, half_width + 1))
        axes.grid(color="0.85", lw=0.6)
        axes.axhline(0, color="0.5", lw=0.8)
        axes.axvline(0, color="0.5", lw=0.8)
        axes.tick_params(labelsize=7, length=0)
        return axes


def draw_lines(axes, normals: np.ndarray, places: list[float]) -> None:
    """Draw the line of each normal, and at its place an arrow to the positive side."""
    styles = ("-", "--", "-.")
    for i, ((a, b), place, style) in enumerate(zip(normals, places, styles, strict=True), start=1):
        axes.axline((0, 0), (-b, a), color="black", lw=1.1, ls=style)
        start, arrow = place * np.array([-b, a]), np.array([a, b]) / np.hypot(a, b)
        axes.annotate("", start + 0.9 * arrow, start, arrowprops={"arrowstyle": "->"})
        axes.text(*(start + 1.3 * arrow), f"bit {i}", size=8, ha="center", va="center")


def page_a(answers: bool) -> Page:
    """Chapter 2: eight points and three lines."""
    page = Page("A. Eight points, three lines (chapter 2)", answers)
    page.text(
        "The bit of a point x for a line with the normal w is 1 if w · x is at least 0, else 0.\n"
        "1. Fill in the table. The key is the code read as a binary number: 4, 2 and 1 for the three bits."
    )
    projections = POINTS_2 @ NORMALS_2.T
    codes = [written(row) for row in projections >= 0]
    rows = [[n, f"({x}, {y})", *map(str, p), c, str(int(c, 2))]
            for n, (x, y), p, c in zip(NAMES_2, POINTS_2, projections, codes, strict=True)]  # fmt: skip
    head = ["", "point", *(f"w{i} = ({a}, {b})" for i, (a, b) in enumerate(NORMALS_2, 1))]
    page.table([*head, "code", "key"], rows, 2)
    page.text("2. Draw the three lines. Write its code into each region. Which codes occur nowhere? Which bucket is empty?", gap=0.012)  # fmt: skip
    axes = page.plane(0.42, 4)
    axes.plot(*POINTS_2.T, "ko", ms=5)
    for name, (x, y) in zip(NAMES_2, POINTS_2, strict=True):
        axes.text(x + 0.15, y + 0.15, name, size=10)
    if answers:
        draw_lines(axes, NORMALS_2, [0.8, 0.8, 0.7])
        for angle in (49, 94, 161, 229, 274, 326):
            x, y = 3.4 * np.cos(np.radians(angle)), 3.4 * np.sin(np.radians(angle))
            axes.text(x, y, written(NORMALS_2 @ (x, y) >= 0), size=9, weight="bold", ha="center")
        page.figure.text(0.55, page.y - 0.02, "Six regions, not eight: going round the\norigin, each line is crossed twice.\n011 and 100 occur nowhere.\nThe bucket 000 is empty.",
                         va="top", weight="bold", style="italic", size=10.5)  # fmt: skip
    page.y -= 0.42 * WIDTH / HEIGHT + 0.03
    order, keys = np.argsort([int(c, 2) for c in codes], kind="stable"), [int(c, 2) for c in codes]
    offsets = np.searchsorted(np.array(keys)[order], range(9))
    page.text(
        "3. Hash table. Sort the points by key; write below each key at which place its bucket begins."
    )
    page.table(["place", *map(str, range(8)), ""], [["point", *(NAMES_2[i] for i in order), ""]], 1)
    page.table(["key", *map(str, range(8)), "end"], [["begins at", *map(str, offsets)]], 1)
    moved = [written(row) for row in (POINTS_2 + 6) @ NORMALS_2.T >= 0]
    page.text(
        "4. All points are moved by (6, 6). Guess how many buckets are occupied; then work it out. Why?",
        gap=0.01,
    )
    page.answer(f"{len(set(moved))}: only {NAMES_2[moved.index('101')]} has 101, the other seven 111. From the origin, all points now lie in the same direction.", gap=0.04)  # fmt: skip
    return page


def page_b(answers: bool) -> Page:
    """Chapter 4: step A on eight images."""
    page = Page("B. Step A of GRH (chapter 4)", answers)
    first = np.where(POINTS_4 @ NORMALS_4.T >= 0, 1, -1)
    page.text(
        "Ships a to d (circles) are neighbours of each other, and so are frogs e to h (squares); each image is "
        "its own neighbour too. m is the mean of the neighbours' bits as −1 and +1. Step A takes the sign of "
        "α m + (1 − α) L0, with α = 0.8. The sign of 0 is +1. Here are the first codes:", gap=0.012)  # fmt: skip
    axes = page.plane(0.42, 4)
    for name, point, ship, bits in zip(NAMES, POINTS_4, SHIP, first > 0, strict=True):
        axes.plot(*point, "o" if ship else "s", color="black", mfc="white", ms=7)
        # Beside or below the image, where no line runs.
        (x, y), label = point, f"{name} {written(bits)}"
        if name in "efh":
            axes.text(x - 0.2, y - 0.3, label, size=8.5, ha="center", va="top")
        else:
            side, ha = (-0.25, "right") if name in "adg" else (0.25, "left")
            axes.text(x + side, y, label, size=8.5, ha=ha, va="center")
    draw_lines(axes, NORMALS_4, [1.1, -1.3, 2.8])
    after = [step_a(first[:, bit], first[:, bit]) for bit in range(3)]
    flips = [[NAMES[i] for i, row in enumerate(rows) if row[-1]] for rows in after]
    room = page.y - 0.01
    page.figure.text(0.54, room, "Before you compute: which images will change\ntheir bit 3? What happens to a tie (bit 1)?\n"
                     "Then fill in tables 1 and 2.", va="top", size=10.5, linespacing=1.35)  # fmt: skip
    if answers:
        page.figure.text(0.54, room - 0.07, f"Bit 3: {' and '.join(flips[2])} flip. Bit 1: only {flips[0][0]} flips;\nthe frogs' mean is 0, and each keeps\nits own bit. Bit 2: nothing flips.",
                         va="top", weight="bold", style="italic", size=10.5, linespacing=1.35)  # fmt: skip
    page.y -= 0.42 * WIDTH / HEIGHT + 0.03
    step_a_table(page, 1, "bit 3, first round.", first[:, 2], first[:, 2])
    step_a_table(page, 2, "bit 1, first round.", first[:, 0], first[:, 0])
    return page


def step_a_table(page: Page, number: int, title: str, current: np.ndarray, first: np.ndarray):
    """Add the table of step A for one bit."""
    page.text(f"Table {number}: {title}", gap=0.006)
    start = [f"{value:+d}" for value in first]
    rows = [[n, s, *row] for n, s, row in zip(NAMES, start, step_a(current, first), strict=True)]
    page.table(["", "L0", "m", "α m", "(1 − α) L0", "sum", "sign", "flips?"], rows, 2)


def page_b_continued(answers: bool) -> Page:
    """Chapter 4: the second round, and when a bit can flip."""
    page = Page("B. Step A of GRH, second round (chapter 4)", answers)
    first = np.where(POINTS_4 @ NORMALS_4.T >= 0, 1, -1)
    learned = np.array([1 if code[0] == "1" else -1 for code in LEARNED_4])
    page.text(f"Step B has trained a line for each bit. The images now have the codes {' '.join(LEARNED_4)} (a to h). "
              "The neighbours' mean is that of these new bits; L0 is still the first bit of all.", gap=0.014)  # fmt: skip
    step_a_table(page, 3, "bit 1, second round.", learned, first[:, 0])
    page.text(
        "4. The bit of h was +1 at first and is −1 now. Does step A change it back? Why not?",
        gap=0.01,
    )
    page.answer("No: its own vote +0.2 is for +1, but m = −0.5 weighs −0.4.", gap=0.07)
    page.text(
        "5. A bit disagrees with m. For which α does it flip? For m = 1/2, and in general.",
        gap=0.01,
    )
    page.answer("α |m| > 1 − α, so α > 1/(1 + |m|); for m = 1/2, α > 2/3.", gap=0.1)
    page.text("6. Somebody takes the sign of m first and then blends with α = 0.25. Which bits flip in table 1? Which would flip with another graph?", gap=0.01)  # fmt: skip
    page.answer("None, and none whatever the graph: ±0.25 never outweighs ±0.75. Below α = 1/2 this step is idle.", gap=0.1)  # fmt: skip
    page.text("7. The method with this idle step still beats random lines. Which experiment shows that the graph has no part in it?", gap=0.01)  # fmt: skip
    page.answer("The same method without any graph, step B alone: every bit is equal.", gap=0.1)
    return page


def page_c(answers: bool) -> Page:
    """Chapter 3: sixteen buckets and a query."""
    page = Page("C. Sixteen buckets and a query (chapter 3)", answers)
    page.text(f"The query has the code {QUERY_3}. The distance of two codes is the number of bits in which they differ.\n"
              "1. How many of the 16 codes lie at each distance, and how many within it?", gap=0.012)  # fmt: skip
    apart = [(code ^ int(QUERY_3, 2)).bit_count() for code in range(16)]
    shells = [[f"{c:04b}" for c in range(16) if apart[c] == d] for d in range(5)]
    sizes = np.array([len(shell) for shell in shells])
    rows = [
        [str(d), str(sizes[d]), str(sizes[: d + 1].sum()), " ".join(shells[d])] for d in range(5)
    ]
    page.table(
        ["distance", "codes", "within", "which"],
        rows,
        1,
        height=0.026,
        widths=[0.12, 0.12, 0.12, 0.64],
    )
    page.text(
        "2. Eight items sit in these buckets. Which are found at radius 0, 1, 2, 3 and 4?",
        gap=0.012,
    )
    page.table(list(ITEMS_3), [list(ITEMS_3.values())], 8)
    distance = {n: (int(c, 2) ^ int(QUERY_3, 2)).bit_count() for n, c in ITEMS_3.items()}
    found = [[n for n in ITEMS_3 if distance[n] <= r] for r in range(5)]
    rows = [
        [str(r), str(sizes[: r + 1].sum()), str(len(f)), " ".join(f)] for r, f in enumerate(found)
    ]
    page.table(
        ["radius", "probes", "candidates", "which"],
        rows,
        1,
        height=0.026,
        widths=[0.12, 0.12, 0.16, 0.6],
    )
    page.text(
        "3. Seven buckets are occupied. From which radius on would it be cheaper to go through their list?",
        gap=0.008,
    )
    page.answer("From radius 2: eleven probes for seven occupied buckets.", gap=0.04)
    page.text(
        "4. How many codes of 16 bits lie within radius 2? Write the sum, then the number.",
        gap=0.008,
    )
    page.answer("1 + 16 + 120 = 137.", gap=0.04)
    page.text("5. Four queries have 3, 0, 5 and 2 right answers of ten. The second has no candidates. Give precision@10 if an "
              "empty answer counts 0, and if it is left out. Which of the two rises if more queries stay without an answer?", gap=0.008)  # fmt: skip
    page.answer("0.25, and 1/3. The second can rise: only the easy queries remain.", gap=0.04)
    return page


def write(folder: Path) -> None:
    """Write worksheet.pdf and worksheet_answers.pdf; the same bytes each time."""
    style = {
        "pdf.fonttype": 42,
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "axes.linewidth": 0.6,
        "figure.constrained_layout.use": False,
    }
    for name, answers in (("worksheet", False), ("worksheet_answers", True)):
        about = {"Title": "Learning to hash: pencil worksheet", "CreationDate": None, "ModDate": None,
                 "Creator": None, "Producer": None}  # fmt: skip
        with matplotlib.rc_context(style), PdfPages(folder / f"{name}.pdf", metadata=about) as pdf:
            for page in (page_a, page_b, page_b_continued, page_c):
                pdf.savefig(page(answers).figure)
                plt.close("all")


if __name__ == "__main__":
    matplotlib.use("pdf")
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
