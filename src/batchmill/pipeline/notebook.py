"""The code cells of a Jupyter notebook."""

from __future__ import annotations

import json
from typing import Any

from batchmill.errors import DocumentError


def code_cells(text: str, name: str) -> list[str]:
    """The code of a notebook's code cells, in their order; empty cells too, so that numbers agree with what Jupyter shows.

    ``name`` names the notebook in errors. Formats 3 and 4 are read.

    Raises:
        DocumentError: it is no notebook, or one of another language.
    """
    try:
        notebook = json.loads(text)
    except ValueError as error:
        raise DocumentError(f"{name} is no notebook: {error}.", cure="Save it again in Jupyter.") from None
    if not isinstance(notebook, dict):
        raise _broken(name)
    _check_language(notebook.get("metadata"), name)
    cells = notebook.get("cells")
    if cells is None:  # format 3
        cells = [cell for sheet in notebook.get("worksheets", ()) for cell in sheet.get("cells", ())]
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells) or ("cells" not in notebook and not cells):
        raise _broken(name)
    return [_source(cell, name) for cell in cells if cell.get("cell_type") == "code"]


def _source(cell: dict[str, Any], name: str) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(source) if isinstance(source, list) and all(isinstance(line, str) for line in source) else source
    if not isinstance(text, str):
        raise _broken(name)
    return text if text.endswith("\n") or not text else f"{text}\n"


def _check_language(metadata: Any, name: str) -> None:
    if not isinstance(metadata, dict):
        return
    places = (metadata.get("language_info") or {}).get("name"), (metadata.get("kernelspec") or {}).get("language")
    language = next((place for place in places if place), "python")
    if str(language).lower() not in ("python", "ipython"):
        raise DocumentError(f"{name} is a notebook in {language}; only those in Python can be executed.")


def _broken(name: str) -> DocumentError:
    return DocumentError(f"{name} is no notebook: it is JSON, but it holds no cells.", cure="Save it again in Jupyter.")
