"""Make the code's docstrings, which are plain text in Google style, fit for reStructuredText.

Formulas are full of characters that mean something else there: |g|, x*, v_. They are escaped, indented formulas become
literal blocks, `## Headings` (as Gymnasium's environments have them) become rubrics, and "Ruan et al. (2019)" becomes a
link to the bibliography.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

BIBLIOGRAPHY = Path(__file__).resolve().parents[1] / "bibliography.md"

NAME = r"(?:De |de |van |van den |von )?[A-Z][\w-]+"
CITATION = re.compile(
    rf"(?P<first>{NAME})(?: et al\.|(?:, {NAME})*,? (?:and|&) {NAME})?,? \(?(?P<year>(?:19|20)\d\d)\)?"
)
"""Author (year), Author and Author (year), Author et al. (year), with or without the brackets."""
CODE = re.compile(r"(``.+?``|`[^`]+`)")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Notes?|References?|Examples?):$")


def key(author: str, year: str) -> str:
    """Make the anchor of a source: `ref-ruan-2019`."""
    name = unicodedata.normalize("NFKD", author.split()[-1]).encode("ascii", "ignore").decode().lower()
    return f"ref-{name}-{year}"


def anchors() -> set[str]:
    """Read the anchors of the bibliography."""
    return set(re.findall(r"^\((ref-[\w-]+)\)=$", BIBLIOGRAPHY.read_text(encoding="utf-8"), re.MULTILINE))


def citations(text: str) -> dict[str, str]:
    """Find the sources that a text cites: anchor -> how it is cited."""
    return {key(match["first"], match["year"]): match.group().strip() for match in CITATION.finditer(text)}


def convert(lines: list[str], known: set[str]) -> list[str]:
    """Turn one docstring into reStructuredText that napoleon understands."""
    out: list[str] = []
    for i, line in enumerate(lines):
        if line.startswith("## "):
            out += [f".. rubric:: {line[3:]}", ""]
            continue
        if _starts_formula(lines, i):
            out += [".. code-block:: text", ""]
        out.append(line if _in_formula(lines, i) else _escape(line, known))
    return out


def _starts_formula(lines: list[str], i: int) -> bool:
    return _in_formula(lines, i) and not lines[i - 1].strip() and not _in_formula(lines, _above(lines, i))


def _above(lines: list[str], i: int) -> int:
    """Find the nearest line above that is not empty; -1 if there is none."""
    return next((j for j in range(i - 1, -1, -1) if lines[j].strip()), -1)


def _in_formula(lines: list[str], i: int) -> bool:
    """Is the line part of an indented block that follows a paragraph (and not a section such as "Args:")?"""
    if i < 0 or not lines[i].startswith("    "):
        return False
    j = i
    while j >= 0 and (lines[j].startswith("    ") or not lines[j].strip()):
        j -= 1
    if j < 0 or j + 1 >= len(lines) or lines[j + 1].strip():  # the block must be set off by an empty line
        return False
    return not SECTION.match(lines[j]) and not lines[j].rstrip().endswith("::") and not lines[j].startswith("- ")


def _escape(line: str, known: set[str]) -> str:
    parts = CODE.split(line)
    out = [part if i % 2 else _link(_escape_text(part), known) for i, part in enumerate(parts)]
    # "`Name`s" needs a break that does not show.
    return "".join(f"\\ {part}" if i and i % 2 == 0 and part[:1].isalnum() else part for i, part in enumerate(out))


def _escape_text(text: str) -> str:
    strong = re.sub(r"\*\*(\w[\w -]*\w)\*\*", "\0\\1\0", text)
    starred = strong.replace("|", r"\|") if re.match(r"\s*\*{1,2}\w+:", strong) else re.sub(r"([*|])", r"\\\1", strong)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", starred).replace("\0", "**")


def _link(text: str, known: set[str]) -> str:
    def role(match: re.Match[str]) -> str:
        anchor = key(match["first"], match["year"])
        return f":ref:`{match.group()} <{anchor}>`" if anchor in known else match.group()

    return CITATION.sub(role, text)


def setup(app: Any) -> dict[str, Any]:
    """Convert docstrings before napoleon reads them."""
    known = anchors()

    def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
        lines[:] = convert(lines, known)
        if what in ("attribute", "data", "property"):
            # napoleon would take "State: a tensor" in the first line for a type. A comment before it stops napoleon.
            lines[:0] = ["..", ""]

    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
