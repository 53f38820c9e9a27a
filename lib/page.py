"""Executed notebooks in, one HTML page out: the template folder beside this file says how it looks."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_notebook
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

HIDDEN_TAGS = {"parameters", "injected-parameters", "setup"}  # of cells that the reader of the page needs not


class _MathMLRenderer(IPythonRenderer):
    """Markdown whose formulas are typeset here, since the page has no script to do it."""

    def block_math(self, body: str) -> str:
        return convert(body, display="block")

    def inline_math(self, body: str) -> str:
        return convert(body)


class PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with this project's template, which loads nothing from anywhere."""

    def __init__(self) -> None:
        basedirs = [str(Path(__file__).parent)]
        super().__init__(
            config=Config({"HTMLExporter": {"extra_template_basedirs": basedirs}}), template_name="template"
        )
        self.exclude_input_prompt = self.exclude_output_prompt = True

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:  # noqa: ARG002 - nbconvert's signature
        """Renders Markdown with formulas as MathML."""
        return str(MarkdownWithMath(renderer=_MathMLRenderer(escape=False, exclude_anchor_links=True)).render(source))

    def render(self, notebooks: Sequence[NotebookNode], results: Mapping[str, Any], summary_figure: str) -> str:
        """Returns the page: the same bytes for the same input.

        Args:
            notebooks: executed, each opening with a Markdown cell whose first line is its heading "## ...".
            results: the content of results.json.
            summary_figure: HTML of the figure that opens the page.
        """
        page, sections = new_notebook(metadata=notebooks[0].metadata), []
        for notebook in notebooks:
            cells = [cell for cell in deepcopy(notebook.cells) if not HIDDEN_TAGS & set(cell.metadata.get("tags", []))]
            title = cells[0].source.splitlines()[0].removeprefix("## ")
            cells[0].metadata["section"] = "section-" + re.sub(r"[^0-9a-z]+", "-", title.lower()).strip("-")
            sections.append({"id": cells[0].metadata["section"], "title": title})
            page.cells += cells
        light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
        resources = {
            "results": results,
            "sections": sections,
            "summary_figure": summary_figure,
            "code_style": f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}",
        }
        return str(self.from_notebook_node(page, resources=resources)[0])
