"""Pictures to play with: they need neither a kernel nor the network, in Jupyter and in the book.

Each shows itself as HTML: a still picture with a description, and a script that replaces it by a
live one. Where scripts do not run the picture stays. The same arguments give the same bytes.
"""

from __future__ import annotations

import base64
import html
import json
from importlib.resources import files

import numpy as np

__all__ = ["Live", "alpha_and_rounds", "radius_and_budget", "turning_lines"]

_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999"]
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="{}" width="{}" height="{}" {}>{}</svg>'
_FONT = 'font-family="sans-serif" font-size="8" style="background:#fff"'


class Live:
    """A picture that shows itself as HTML, and as its description in plain text.

    Parameters
    ----------
    name : str
        Name of the script in the folder ``live_js``.
    config : dict
        What the script is told, as JSON; ``view`` is the SVG view box.
    shapes : str
        The still picture: SVG elements inside that view box.
    alt : str
        What the picture shows, in words.
    """

    def __init__(self, name: str, config: dict, shapes: str, alt: str):
        self.alt = alt
        scripts = files("grh_helpers") / "live_js"
        code = "".join((scripts / f"{part}.js").read_text("utf-8") for part in ("common", name))
        width, height = (480 * int(side) // 220 for side in config["view"].split()[2:])
        svg = _SVG.format(config["view"], width, height, _FONT, shapes)
        told, still = html.escape(json.dumps(config)), base64.b64encode(svg.encode()).decode()
        self.html = (
            f'<figure class="grh-live" data-grh="{name}" data-config="{told}" style="margin:0;'
            f'max-width:{width}px"><img alt="{html.escape(alt)}" style="max-width:100%" '
            f'src="data:image/svg+xml;base64,{still}"></figure>'
            f"<script>(function () {{\n{code}}})();</script>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.alt}


def _dot(x: float, y: float, fill: str, label: str, circle=True, right=6.0, down=-5.0) -> str:
    """Draw a named point: a circle or a square, its name so far from its middle."""
    shape = f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" rx="{4 * circle}"'
    text = f'<text x="{x + right:.1f}" y="{y + down:.1f}">{label}</text>'
    return f'{shape} fill="{fill}" stroke="#111"/>{text}'


def turning_lines(points, normals, alt: str, n_lines: int = 3, names: str = "abcdefgh") -> Live:
    """Turn hyperplanes in the plane, add more of them, and drag the points. Used in chapter 2.

    Parameters
    ----------
    points : array of shape (n, 2)
        Points between −5 and 5.
    normals : array of shape (m, 2)
        Normals of lines through the origin, in the order in which they are added.
    alt : str
        What the still picture shows.
    n_lines : int, default=3
        Number of lines at the start.
    names : str, default="abcdefgh"
        One letter per point.

    Returns
    -------
    Live
        The last value of a notebook's cell.
    """
    points, normals = np.round(points, 3), np.round(normals, 3)
    codes = ["".join("01"[bit] for bit in row) for row in (points @ normals[:n_lines].T >= 0) * 1]
    keys, shapes = sorted(set(codes)), ""
    for u, v in 200 * normals[:n_lines] / np.linalg.norm(normals[:n_lines], axis=1)[:, None]:
        shapes += f'<path d="M{-v:.1f} {-u:.1f}L{v:.1f} {u:.1f}" stroke="#444"/>'
    for (x, y), name, code in zip(20 * points, names, codes, strict=True):
        shapes += _dot(x, -y, _COLOURS[keys.index(code) % 8], f"{name} {code}")
    config = {"points": points.tolist(), "normals": normals.tolist(), "lines": n_lines}
    config |= {"names": names, "unit": 20, "limit": 5, "view": "-110 -110 220 220"}
    return Live("turning_lines", config | {"colours": _COLOURS}, shapes, alt)


def alpha_and_rounds(points, circles, runs, alt: str, alpha=0.8, names="abcdefgh") -> Live:
    """Move α and the round of GRH on a toy, bits that a step flips being ringed. Used in chapter 4.

    Parameters
    ----------
    points : array of shape (n, 2)
        Points between −4 and 4.
    circles : array of bool of shape (n,)
        Which points are drawn as circles, the others being squares: their class.
    runs : dict
        For each α the pair (codes, lines): codes of all points as strings, first those of LSH,
        then after step A and step B of each round; and per round, LSH first, the lines as rows
        (normal, intercept), one per bit.
    alt : str
        What the still picture shows.
    alpha : float, default=0.8
        α at the start, one of `runs`; the round is the first, after its step A.
    names : str, default="abcdefgh"
        One letter per point.

    Returns
    -------
    Live
        The last value of a notebook's cell.
    """
    points, unique, which = np.round(points, 3), [], []
    for codes, lines in runs.values():
        lines = np.round(lines, 2) + 0.0  # no −0.0
        run = {"codes": [list(row) for row in codes], "lines": lines.tolist()}
        unique += [] if run in unique else [run]
        which.append(unique.index(run))
    before, after = runs[alpha][0][:2]
    n_bits, shapes = len(after[0]), ""
    for bit in range(n_bits):
        shapes += f'<text x="{110 * bit + 4}" y="-44">bit {bit + 1}</text>'
        for i, (x, y) in enumerate(points * 12 + [110 * bit + 55, 0]):
            shapes += _dot(x, -y, ["#fff", "#0072B2"][int(after[i][bit])], names[i], circles[i])
            if before[i][bit] != after[i][bit]:
                shapes += f'<circle cx="{x:.0f}" cy="{-y:.0f}" r="8" fill="none" stroke="#D55E00"/>'
    config = {"points": points.tolist(), "round": [int(c) for c in circles], "names": names}
    config |= {"alphas": [round(float(a), 2) for a in runs], "which": which, "runs": unique}
    config |= {"alpha": list(runs).index(alpha), "stage": 1, "unit": 12, "panel": 110}
    return Live("alpha_and_rounds", config | {"view": f"0 -55 {110 * n_bits} 110"}, shapes, alt)


def radius_and_budget(items, hits: str, query: str, alt: str, radius=1, budget=3) -> Live:
    """Move radius, budget and query among the buckets of a toy. Used in chapter 3.

    Parameters
    ----------
    items : dict
        Code of each item, as a string of bits, by the item's letter. Ties in the Hamming order
        of a budget are broken by the order of this dictionary.
    hits : str
        Letters of the items that are right answers, drawn as circles; the others are squares.
    query : str
        Code of the query at the start.
    alt : str
        What the still picture shows.
    radius, budget : int, default=1 and 3
        Hamming radius in bits and number of candidates at the start.

    Returns
    -------
    Live
        The last value of a notebook's cell.
    """
    n_bits, codes = len(query), {name: int(code, 2) for name, code in items.items()}
    start, step, row = int(query, 2), 52, 24
    taken = sorted(codes, key=lambda name: (codes[name] ^ start).bit_count())[:budget]
    shapes = f'<path d="M0 0h{step * (radius + 1) - 2}v{7 * row}H0" fill="#DCEBF7"/>'
    for distance in range(n_bits + 1):
        shell = [c for c in range(2**n_bits) if (c ^ start).bit_count() == distance]
        for i, code in enumerate(shell):
            x, y = step * (distance + 0.25), row * (3.5 + i - (len(shell) - 1) / 2)
            shapes += f'<path d="M{x - 11} {y - 6}h22v12h-22z" fill="#fff" stroke="#111"/>'
            shapes += f'<text x="{x}" y="{y + 3}" text-anchor="middle">{code:0{n_bits}b}</text>'
            for j, name in enumerate(name for name in codes if codes[name] == code):
                fill, place = "#D55E00" if name in taken else "#fff", x + 17.5 + 12 * j
                shapes += _dot(place, y, fill, name, name in hits, -2.2, 2.5)
    config = {"items": codes, "hits": hits, "bits": n_bits, "query": start, "radius": radius}
    config |= {"budget": budget, "step": step, "row": row}
    view = f"0 0 {step * (n_bits + 1)} {7 * row}"
    return Live("radius_and_budget", config | {"view": view}, shapes, alt)
