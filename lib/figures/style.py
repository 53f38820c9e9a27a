"""What all figures share: colours, names, and a figure that carries its caption and its numbers."""

import base64
import html
import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

_OURS = mpl.rc_params_from_file(Path(__file__).with_name("report.mplstyle"), use_default_template=False)
NO_STYLE = (
    "backend", "interactive", "toolbar", "webagg", "tk.", "docstring", "date.epoch", "savefig.directory", "keymap",
)  # fmt: skip
# On matplotlib's defaults, so that nothing of a user's matplotlibrc shows.
STYLE = {name: default for name, default in mpl.rcParamsDefault.items() if not name.startswith(NO_STYLE)} | dict(_OURS)
COLOURS = {"train": "#0072B2", "test": "#D55E00"}
BACKDROP = "#8a8a8a"  # of the baseline behind a variant
# Told apart by lightness too, for a reader or a printer without colour.
OVERLAY = {"hit": "#56B4E9", "miss": "#F0E442", "false alarm": "#D55E00"}
METRIC_NAMES = {"dsc": "DSC", "dice": "Dice"}
# A page may be dark: what is black or white in the files follows its text and ground there.
ON_A_PAGE = {
    "fill: #ffffff": "fill: none",
    "#000000": "currentColor",
    "#e6e6e6": "var(--grid, #e6e6e6)",
    COLOURS["train"].lower(): f"var(--train, {COLOURS['train']})",
}
SVG_DPI = 150  # of images in SVG files, which a page carries whole


class ReportFigure(Figure):
    """A figure with its number, its caption, the text that stands for it where it cannot be seen, and its numbers.

    Notebooks show it with its caption; the same output carries it as SVG and PNG.
    """

    def __init__(self, number: int | None, caption: str, alt: str, data: pd.DataFrame, **options: Any) -> None:
        super().__init__(**options)
        self.report_number, self.caption, self.alt, self.data = number, caption, alt, data

    @property
    def label(self) -> str:
        """ "Figure 12", or "Summary" for the one without a number."""
        return f"Figure {self.report_number}" if self.report_number else "Summary"

    def render(self, file_format: str) -> bytes:
        """Returns the figure as "svg" or "png": the same bytes for the same figure, with no date in them."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            if layout := self.get_layout_engine():  # lays out anew, and a little differently, at every drawing
                layout.execute(self)
                self.set_layout_engine("none")
            if file_format == "png":
                self.savefig(buffer, format="png")
                return buffer.getvalue()
            images = [(ax, image) for ax in self.axes for image in ax.images]
            for ax, image in images:  # pixel by pixel, unless they have more than is seen
                width = ax.get_window_extent().width * SVG_DPI / self.dpi
                image.set_interpolation("none" if image.get_size()[1] <= width else None)
            self.savefig(buffer, format="svg", dpi=SVG_DPI, metadata={"Date": None})
            for _, image in images:
                image.set_interpolation(None)
        return buffer.getvalue()

    def _inline_svg(self, name: str) -> str:
        """Returns the drawing as an element of a page: with ids of its own, and in the page's colours."""
        svg = self.render("svg").decode()
        svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        svg = re.sub(r'(<image [^>]*?) id="[^"]*"', r"\1", svg)  # of their pixels: two alike would share one
        svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
        for colour, there in ON_A_PAGE.items():
            svg = svg.replace(colour, there)
        role = f'<svg role="img" aria-label="{html.escape(self.alt)}" fill="currentColor"'
        return re.sub(r'^<svg(.*?) width="[^"]*" height="[^"]*"', lambda match: role + match[1], svg)

    def to_html(self) -> str:
        """Returns the figure as an HTML figure element that needs no other file."""
        name = self.label.lower().replace(" ", "-")
        csv = base64.b64encode(self.data.to_csv(index=False, float_format="%.6g").encode()).decode()
        return (
            f'<figure id="{"figure-" * (self.report_number is None)}{name}" class="report-figure">'
            f'<div class="plot" tabindex="0" role="group" aria-label="{self.label}">{self._inline_svg(name)}</div>'
            f"<figcaption>{_caption_html(self.label, self.caption)} "
            f'<a class="data" download="{name}.csv" href="data:text/csv;base64,{csv}" '
            f'aria-label="Data of {self.label} as CSV">Data</a></figcaption></figure>'
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        data = {
            "text/plain": f"{self.label}. {self.caption}",
            "text/html": self.to_html(),
            "image/svg+xml": self.render("svg").decode(),
            "image/png": base64.b64encode(self.render("png")).decode(),
        }
        return data, {"report_figure": {"number": self.report_number, "alt": self.alt}}


class ReportTable:
    """A table with its number and its caption, which begins with what the table says; notebooks show all three."""

    def __init__(self, number: int, table: pd.DataFrame, caption: str = "") -> None:
        """The caption may be in the table's attrs."""
        self.number, self.table, self.caption = number, table, caption or table.attrs["caption"]

    def to_html(self) -> str:
        """Returns the table as an HTML figure element, with one row of headers, each with its scope."""
        columns = (self.table.index.name or "", *self.table)  # an empty corner is no heading
        head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' if name else "<td></td>" for name in columns)
        rows = "\n".join(
            f'<tr><th scope="row">{html.escape(str(name))}</th>'
            + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
            + "</tr>"
            for name, *cells in self.table.itertuples()
        )
        label = f"Table {self.number}"
        return (
            f'<figure id="table-{self.number}" class="report-table">'
            f"<figcaption>{_caption_html(label, self.caption)}</figcaption>\n"
            f'<div class="scroll" role="group" aria-label="{label}" tabindex="0">\n<table class="dataframe">\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div></figure>"
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        plain = f"Table {self.number}. {self.caption}\n{self.table.to_string()}"
        return {"text/plain": plain, "text/html": self.to_html()}, {"report_table": {"number": self.number}}


def _caption_html(label: str, caption: str) -> str:
    """Returns a caption as HTML: its first sentence is the result."""
    title, end, rest = caption.partition(". ")
    told = f"<strong>{html.escape(title + end.strip())}</strong> {html.escape(rest)}"
    return f'<strong class="number">{label}.</strong> {told}'.rstrip()


def count_of_runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
