"""Executes notebooks in place and keeps the outputs that are the same on every machine, for nbval to compare.

Cells tagged nbval-ignore-output show what a run measured; their outputs are not kept.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": path.parent}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            if "nbval-ignore-output" in cell.metadata.get("tags", []):
                cell.outputs, cell.execution_count = [], None
        notebook.metadata = {
            "kernelspec": notebook.metadata["kernelspec"],
            "language_info": {"name": "python"},
        }
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1:])
