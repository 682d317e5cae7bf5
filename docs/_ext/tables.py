"""Tables made from the code.

`{registry} zo_gym.SAMPLERS` lists a table of names, `{methods}` the parts of every method, and `{metrics}` what
training logs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

NAME = re.compile(r"zo_gym(\.\w+)+")


def resolve(path: str) -> Any:
    """Import `package.module.NAME`."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def first_sentence(obj: Any) -> str:
    """Return the first sentence of a docstring, on one line; empty where there is none of its own."""
    text = inspect.getdoc(obj)
    if not text or text == inspect.getdoc(type(obj)):
        return ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    end = re.search(r"[.:](?= [A-Z])", paragraph)
    return paragraph if end is None else f"{paragraph[: end.start()]}."


def behind(obj: Any) -> Any:
    """Return what documents an entry of a table: the function of a `partial`, the first part of a tuple."""
    if isinstance(obj, partial):
        return obj.func
    return obj[0] if type(obj) is tuple else obj


def full_name(obj: Any) -> str:
    """Return the name under which a function or class is documented; empty for a constant."""
    found = behind(obj)
    if not hasattr(found, "__qualname__"):
        return ""
    package = ".".join(found.__module__.split(".")[:2])
    public = getattr(import_module(package), "__all__", ())
    return f"{package if found.__qualname__ in public else found.__module__}.{found.__qualname__}"


def registry_rows(path: str) -> list[tuple[str, str, str]]:
    """List (key, full name, first sentence) of the entries of a table of names."""
    entries = resolve(path)
    return [(name, full_name(value), first_sentence(behind(value))) for name, value in entries.items()]


def queries_per_step(recipe: Any) -> str:
    """Say what one step of a method costs in d dimensions, the value at the new point included."""
    d = 1_000_003  # larger than any q, so that an estimator that goes through all axes gives itself away
    probed = resolve("zo_gym.ESTIMATORS")[recipe.estimator].num_queries(recipe.num_directions, d)
    return "d + 1" if probed == d else str(probed + 1)


def method_rows() -> list[list[str]]:
    """List name, sampler, estimator, gradient model, update rule, q and cost of the methods."""
    rows = []
    for name, recipe in resolve("zo_gym.METHODS").items():
        parts = [recipe.sampler or "-", recipe.estimator, recipe.gradient_model or "-", recipe.update]
        rows.append([name, *parts, str(recipe.num_directions), queries_per_step(recipe)])
    return rows


def setup(app: Any) -> dict[str, Any]:
    """Register the directives."""
    from docutils import nodes
    from sphinx import addnodes
    from sphinx.util.docutils import SphinxDirective

    def inline(text: str) -> list[nodes.Node]:
        """Turn `code` into literals."""
        parts = text.split("`")
        return [nodes.literal(part, part) if i % 2 else nodes.Text(part) for i, part in enumerate(parts) if part]

    def table(head: Sequence[str], widths: Sequence[int], rows: Sequence[Sequence[list[nodes.Node]]]) -> nodes.table:
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
        getattr(env, "listed_tables", {}).pop(page, None)

    class Registry(SphinxDirective):
        """List the names in a table of the package."""

        required_arguments = 1

        def run(self) -> list[nodes.Node]:
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
            note_listed(self.env, "zo_gym.METHODS")
            head = ["method", "sampler", "estimator", "gradient model", "update", "q", "queries a step"]
            rows = [[[nodes.literal(name, name)], *([nodes.Text(c)] for c in cells)] for name, *cells in method_rows()]
            return [nodes.container("", table(head, [18, 16, 14, 16, 16, 6, 14], rows), classes=["results"])]

    class Metrics(SphinxDirective):
        """List every metric that training logs."""

        def run(self) -> list[nodes.Node]:
            metrics = resolve("zo_gym.metrics.METRICS")
            rows = [[[nodes.literal(m.name, m.name)], inline(m.unit), inline(m.meaning)] for m in metrics]
            return [table(["metric", "unit", "meaning"], [22, 13, 65], rows)]

    left_alone = (addnodes.pending_xref, nodes.title)

    def link_names(app: Any, doctree: nodes.document) -> None:
        """Link `zo_gym.samplers` and the like, where pages mention them as code."""
        for literal in list(doctree.findall(nodes.literal)):
            if NAME.fullmatch(literal.astext()) and not isinstance(literal.parent, left_alone):
                where = {"refdomain": "py", "reftype": "obj", "reftarget": literal.astext(), "refexplicit": True}
                literal.replace_self(addnodes.pending_xref("", literal.deepcopy(), refdoc=app.env.docname, **where))

    app.connect("doctree-read", link_names)
    app.connect("env-purge-doc", forget_page)
    app.add_directive("registry", Registry)
    app.add_directive("methods", Methods)
    app.add_directive("metrics", Metrics)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
