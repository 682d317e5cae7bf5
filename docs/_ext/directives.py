"""The directives `registry`, `methods`, `metrics` and `results`, and links for names that pages mention as code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from _ext.results import FOLDER, Table, build
from _ext.tables import NAME, method_rows, registry_rows, resolve
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

LEFT_ALONE = (addnodes.pending_xref, nodes.title)
"""Parents of code that is no link, or must not become one."""


def inline(text: str) -> list[nodes.Node]:
    """Turn `code` into literals."""
    parts = text.split("`")
    return [nodes.literal(part, part) if i % 2 else nodes.Text(part) for i, part in enumerate(parts) if part]


def table(head: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[list[nodes.Node]]]) -> nodes.table:
    """Make a table of these columns; a cell is a list of nodes."""

    def row(cells: Sequence[list[nodes.Node]]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))

    specs = [nodes.colspec(colwidth=width) for width in widths]
    header, body = nodes.thead("", row([[nodes.Text(text)] for text in head])), nodes.tbody("", *map(row, rows))
    return nodes.table("", nodes.tgroup("", *specs, header, body, cols=len(head)), classes=["colwidths-given"])


def note_listed(env: Any, path: str) -> None:
    """Remember that the page lists a table; `complete` checks that some page lists each."""
    if not hasattr(env, "listed_tables"):
        env.listed_tables = {}
    env.listed_tables.setdefault(env.docname, set()).add(path)


def forget_page(app: Any, env: Any, page: str) -> None:
    """Drop what a page listed, before it is read again."""
    getattr(env, "listed_tables", {}).pop(page, None)


class Registry(SphinxDirective):
    """List the names in a table of the package."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        note_listed(self.env, self.arguments[0])
        rows = []
        for name, full, sentence in registry_rows(self.arguments[0]):
            code: nodes.Node = nodes.literal(name, name)
            if full:
                where = {"refdomain": "py", "reftype": "obj", "reftarget": full, "refexplicit": True}
                code = addnodes.pending_xref("", code, refdoc=self.env.docname, **where)
            rows.append([[code], inline(sentence)])
        return [table(["name", "what it is"], [22, 78], rows)]


class Methods(SphinxDirective):
    """List the methods and their parts."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        note_listed(self.env, "zo_gym.METHODS")
        head = ["method", "sampler", "estimator", "gradient model", "update", "q", "queries a step"]
        rows = [[[nodes.literal(name, name)], *([nodes.Text(c)] for c in cells)] for name, *cells in method_rows()]
        return [nodes.container("", table(head, [18, 16, 14, 16, 16, 6, 14], rows), classes=["results"])]


class Metrics(SphinxDirective):
    """List every metric that training logs."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        metrics = resolve("zo_gym.metrics.METRICS")
        rows = [[[nodes.literal(m.name, m.name)], inline(m.unit), inline(m.meaning)] for m in metrics]
        return [table(["metric", "unit", "meaning"], [22, 13, 65], rows)]


class Results(SphinxDirective):
    """Show a file of measurements; see `results`."""

    required_arguments = 1
    option_spec = {"problem": directives.unchanged, "view": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        name = self.arguments[0]
        self.env.note_dependency(str(FOLDER / name))
        table = build(name, self.options.get("problem"), self.options.get("view"))
        wrapper = nodes.container(classes=["results"])
        wrapper += results_table(table)
        return [wrapper]


def results_table(table: Table) -> nodes.table:
    """Turn a table into docutils nodes."""
    width = len(table.head)
    group = nodes.tgroup(cols=width)
    group += [nodes.colspec(colwidth=1) for _ in range(width)]

    def entry(text: str, *, bold: bool = False, **attributes: Any) -> nodes.entry:
        inner = nodes.strong(text, text) if bold else nodes.Text(text)
        return nodes.entry("", nodes.paragraph("", "", inner), **attributes)

    head, body = nodes.thead(), nodes.tbody()
    head += nodes.row("", *(entry(text) for text in table.head))
    for i, (heading, rows) in enumerate(table.groups):
        if heading:
            body += nodes.row("", entry(heading, morecols=width - 1), classes=["group"])
        for j, row in enumerate(rows):
            body += nodes.row("", *(entry(text, bold=(i, j, k) in table.best) for k, text in enumerate(row)))
    group += [head, body]
    return nodes.table("", group, classes=["named"] if table.head[0] not in ("d",) else [])


def link_names(app: Any, doctree: nodes.document) -> None:
    """Link `zo_gym.samplers` and the like, where pages mention them as code."""
    for literal in list(doctree.findall(nodes.literal)):
        if NAME.fullmatch(literal.astext()) and not isinstance(literal.parent, LEFT_ALONE):
            where = {"refdomain": "py", "reftype": "obj", "reftarget": literal.astext(), "refexplicit": True}
            literal.replace_self(addnodes.pending_xref("", literal.deepcopy(), refdoc=app.env.docname, **where))


def setup(app: Any) -> dict[str, Any]:
    """Register the directives."""
    app.connect("doctree-read", link_names)
    app.connect("env-purge-doc", forget_page)
    for directive in (Registry, Methods, Metrics, Results):
        app.add_directive(directive.__name__.lower(), directive)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
