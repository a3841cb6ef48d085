"""Pictures to play with: they need neither a kernel nor the network, in Jupyter and in the book.

Each is one script in the folder ``live_js``, which draws a configuration and puts sliders below
it. Where scripts do not run a still picture stays: what the script drew of this configuration at
the start, stored beside it by ``make stills``.
"""

import html
import json
import zlib
from importlib.resources import files
from operator import methodcaller
from urllib.parse import quote

__all__ = ["Live"]

_PLAIN = ' "/:;=,()+'  # what an address within single quotes may hold as it is


class Live:
    """A picture that shows itself as HTML, and as its description in plain text.

    The same arguments give the same bytes. Used in chapters 0, 2, 3, 4 and 5.

    Parameters
    ----------
    name : str
        Name of the script: ``"turning_lines"``, ``"radius_and_budget"``, ``"alpha_and_rounds"`` or
        ``"ranking"``.
    alt : str
        What the picture shows at the start, in words.
    **config
        What the script draws, as its first lines say: strings, numbers, arrays, lists and
        dictionaries of them.

    Attributes
    ----------
    html : str
        The picture and its script.
    still : str
        Name of the file in ``live_js`` that holds the still picture of this configuration. If
        there is none, the description alone stands where scripts do not run.

    Raises
    ------
    FileNotFoundError
        If there is no script of that name.
    """

    def __init__(self, name: str, alt: str, **config):
        told = json.dumps(config, separators=(",", ":"), default=methodcaller("tolist"))
        self.alt, self.still = alt, f"{name}-{zlib.crc32(told.encode()):08x}.svg"
        folder = files("grh_helpers") / "live_js"
        code = "".join((folder / f"{part}.js").read_text("utf-8") for part in ("common", name))
        still = folder / self.still
        drawn = quote(still.read_text("utf-8") if still.is_file() else "", safe=_PLAIN)
        told = html.escape(told, quote=False).replace("'", "&#39;")
        self.html = (
            f'<figure class="grh-live" data-grh="{name}" data-config=\'{told}\' style="margin:0">'
            f'<img alt="{html.escape(alt)}" style="max-width:100%;background:#fff" '
            f"src='data:image/svg+xml,{drawn}'></figure><script>(() => {{\n{code}}})();</script>"
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": self.alt}
