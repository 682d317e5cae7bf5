"""Run the Python on the pages: what a block prints or plots is shown below it, and a block that fails fails the build.

The blocks of one page share a namespace, from top to bottom, as in a notebook. An included script (`{literalinclude}`)
has a namespace of its own. Warnings are errors. A block that must not run is fenced as `py` instead of `python`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scratch_folder import scratch_folder

FENCE = re.compile(r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One piece of code and where it starts."""

    code: str
    file: Path
    line: int


@dataclass(frozen=True)
class Output:
    """What a block left behind."""

    text: str
    figures: list[bytes]
    """PNG images."""


def blocks_of(page: Path) -> list[Block]:
    """Find the Python blocks of a Markdown page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        cut = len(match["indent"])
        code = "".join(line[cut:] if line.strip() else line for line in match["code"].splitlines(keepends=True))
        found.append(Block(code, page, text.count("\n", 0, match.start()) + 2))
    return found


def run(block: Block, namespace: dict[str, Any]) -> Output:
    """Run a block; its namespace changes.

    Raises:
        Exception: Whatever the block raises; the traceback names the page and the line.
    """
    import matplotlib as mpl
    import torch

    printed = io.StringIO()
    backend, threads = mpl.get_backend(), torch.get_num_threads()
    mpl.use("Agg")
    torch.set_num_threads(1)
    namespace.setdefault("__name__", "__main__")
    padded = "\n" * (block.line - 1) + block.code
    try:
        with scratch_folder(), contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(padded, str(block.file), "exec"), namespace)
            figures = _figures()
    finally:
        mpl.use(backend)
        torch.set_num_threads(threads)
    return Output(printed.getvalue(), figures)


def _figures() -> list[bytes]:
    """Take and close the figures that are open."""
    import matplotlib.pyplot as plt

    images = []
    for number in plt.get_fignums():
        file = io.BytesIO()
        plt.figure(number).savefig(file, format="png", dpi=150, bbox_inches="tight")
        images.append(file.getvalue())
    plt.close("all")
    return images


def setup(app: Any) -> dict[str, Any]:
    """Run the blocks as pages are read, unless `-D run_python=0` says not to."""
    app.add_config_value("run_python", True, "env", bool)
    app.connect("doctree-read", _run_page, priority=100)  # before Sphinx collects the images
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _run_page(app: Any, doctree: Any) -> None:
    from docutils import nodes

    if not app.config.run_python:
        return
    page = Path(app.env.doc2path(app.env.docname))
    shared: dict[str, Any] = {}
    for node in list(doctree.findall(nodes.literal_block)):
        if node.get("language") != "python":
            continue
        script = node.get("source") and Path(node["source"]) != page and Path(node["source"]).suffix == ".py"
        file = Path(node["source"]) if script else page
        output = run(Block(node.astext() + "\n", file, 1 if script else (node.line or 1)), {} if script else shared)
        shown: list[Any] = []
        if output.text.strip():
            text = output.text.rstrip("\n")
            shown.append(nodes.literal_block(text, text, language="text", classes=["output"]))
        shown += [_image(nodes, app, figure, number) for number, figure in enumerate(output.figures)]
        node.parent.insert(node.parent.index(node) + 1, shown)


def _image(nodes: Any, app: Any, figure: bytes, number: int) -> Any:
    """Store a figure beside the doctrees and refer to it."""
    folder = Path(app.doctreedir) / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{app.env.docname.replace('/', '-')}-{app.env.new_serialno('figure')}-{number}.png"
    (folder / name).write_bytes(figure)
    here = Path(app.env.doc2path(app.env.docname)).parent
    return nodes.image(uri=os.path.relpath(folder / name, here), alt="Figure drawn by the code above")
