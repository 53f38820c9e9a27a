"""Executed notebooks in, one HTML page out: the template folder beside this file says how it looks."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from traitlets.config import Config

from lib._errors import FailedRun
from lib.claims.findings import QUESTION, findings, headline_numbers
from lib.claims.intervals import FEWEST_SEEDS, MARGIN
from lib.claims.words import number
from lib.evaluation import THRESHOLD
from lib.figures.claims import AXIS_END, draw_effect, mark
from lib.figures.gallery import Picture
from lib.figures.style import OVERLAY
from lib.report.parameters import STUDY_SEEDS

HIDDEN_TAGS = {"parameters", "injected-parameters", "setup"}  # of cells that the reader of the page needs not
SCRIPTS = [Path(__file__).with_name("template") / name for name in ("script.js", "try.js")]


class _Renderer(IPythonRenderer):
    """Markdown with formulas typeset here, since no script does it in the page, and with links to figures and claims.

    Attributes:
        numbered: ids of the figures and tables that the page has. mentioned: those that its text has named so far.
    """

    def __init__(self, numbered: set[str], mentioned: set[str]) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.numbered, self.mentioned = numbered, mentioned

    def text(self, text: str) -> str:
        linked = re.sub(r"\b(Figure|Table) \d+\b", self._link, super().text(text))
        return re.sub(r"\b([Cc]laims?) (C\d[a-z]?)\b", r'\1 <a href="#claim-\2">\2</a>', linked)

    def _link(self, named: re.Match[str]) -> str:
        name = _id(named[0])
        if name not in self.numbered:
            return named[0]
        anchor = "" if name in self.mentioned else f' id="text-{name}"'
        self.mentioned.add(name)
        return f'<a href="#{name}"{anchor}>{named[0]}</a>'

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        """Gives the heading of a claim the anchor that the table of claims leads to."""
        claim = re.match(r"C\d[a-z]?\b", text)
        if claim is None:
            return super().heading(text, level, **attributes)
        return f'<h{level} id="claim-{claim[0]}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return convert(body, display="block")

    def inline_math(self, body: str) -> str:
        return convert(body)


def _seen(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Returns the cells for the reader of a page: optional ones only where they, or the next one, show something."""

    def hidden(cell: NotebookNode, following: NotebookNode | None) -> bool:
        tags, shows = set(cell.metadata.get("tags", [])), cell if cell.cell_type == "code" else following
        return bool(HIDDEN_TAGS & tags) or ("optional" in tags and not (shows and shows.outputs))

    return [cell for cell, following in zip_longest(cells, cells[1:]) if not hidden(cell, following)]


def _id(label: str) -> str:
    """Returns the id of a figure or table by its label: "figure-12" of "Figure 12"."""
    return label.lower().replace(" ", "-")


class PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with this project's template, which loads nothing from anywhere."""

    def __init__(self) -> None:
        basedirs = [str(Path(__file__).parent)]
        super().__init__(
            config=Config({"HTMLExporter": {"extra_template_basedirs": basedirs}}), template_name="template"
        )
        self.exclude_input_prompt = self.exclude_output_prompt = True
        self._numbered: set[str] = set()
        self._mentioned: set[str] = set()

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:  # noqa: ARG002 - nbconvert's signature
        """Renders Markdown with formulas as MathML, and "Figure 12" and "Table 2" as links."""
        return str(MarkdownWithMath(renderer=_Renderer(self._numbered, self._mentioned)).render(source))

    def _link_back(self, label: re.Match[str]) -> str:
        if _id(label[1]) not in self._mentioned:
            return label[0]
        back = f'<a href="#text-{_id(label[1])}" title="Back to the text">{label[1]}.</a>'
        return f'<strong class="number">{back}</strong>'

    def render(
        self,
        notebooks: Sequence[NotebookNode],
        results: Mapping[str, Any],
        summary_figure: str,
        gallery: Sequence[Picture] = (),
        weights: Mapping[str, str] | None = None,
    ) -> str:
        """Returns the page: the same bytes for the same input.

        Args:
            notebooks: executed, each opening with a Markdown cell whose first line is its heading "## ...".
            results: the content of results.json.
            summary_figure: HTML of the figure that opens the page.
            gallery: of test images.
            weights: by network, as `lib.figures.gallery.portable_weights` gives them, for the reader to try.
        """
        gallery = sorted(gallery, key=lambda picture: -picture.disagreement)
        named = [picture for picture in gallery if picture.name == results["images"]["best"]["name"]]
        page, sections = new_notebook(metadata=notebooks[0].metadata), []
        for notebook in notebooks:
            cells = _seen(deepcopy(notebook.cells))
            title = cells[0].source.splitlines()[0].removeprefix("## ")
            cells[0].metadata["section"] = "section-" + re.sub(r"[^0-9a-z]+", "-", title.lower()).strip("-")
            sections.append({"id": cells[0].metadata["section"], "title": title})
            page.cells += cells
        outputs = [output for cell in page.cells for output in cell.get("outputs", [])]
        self._numbered = {
            f"{kind}-{o.metadata[f'report_{kind}']['number']}"
            for o, kind in product(outputs, ("figure", "table"))
            if f"report_{kind}" in o.get("metadata", {})
        }
        self._mentioned = set()
        script = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS[: 1 + bool(weights)])
        resources = {
            "results": results,
            "sections": sections,
            "question": QUESTION,
            "findings": findings(results),
            "headline_numbers": headline_numbers(results),
            "best": max(named or gallery, key=lambda picture: picture.dsc, default=None),
            "evidence_id": next((s["id"] for s in sections if s["title"].startswith("3")), None),
            "fewest_seeds": FEWEST_SEEDS,
            "study_seeds": STUDY_SEEDS,
            "margin": MARGIN,
            "number": number,
            "mark": mark,
            "draw_effect": draw_effect,
            "axis_end": AXIS_END,
            "summary_figure": summary_figure,
            "overlay": OVERLAY,
            "gallery": gallery,
            "weights": weights or {},
            "threshold": THRESHOLD,
            "script": script,
            # The browser runs this script and no other, whatever a name in the data may smuggle in.
            "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        }
        body = str(self.from_notebook_node(page, resources=resources)[0])
        ids = [*(section["id"] for section in sections), *sorted(self._numbered)]
        missing = [part for part in (*(f'id="{one}"' for one in ids), "</html>") if part not in body]
        if missing:
            raise FailedRun(f"page: expected {', '.join(missing)}, found {len(body):,} characters without")
        return re.sub(r'<strong class="number">((?:Figure|Table) \d+)\.</strong>', self._link_back, body)
