"""What the site promises: code runs, tables are the stored numbers, links lead somewhere, every name is there."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zo_gym

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "conf.py").is_file(), reason="the folder docs is not here")

PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
NEEDS_AGENTS = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None, reason="needs pip install 'zo-gym[agents]'"
)


def extension(name: str) -> Any:
    """Import a module of docs/_ext."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


# Code


def runnable() -> list[Any]:
    pages = [page for page in PAGES if "```python\n" in page.read_text(encoding="utf-8")]
    agents = {"tutorials/train_an_agent.md", "tutorials/attack_a_classifier.md", "getting_started.md"}
    return [
        pytest.param(page, id=name_of(page), marks=[NEEDS_AGENTS] if name_of(page) in agents else []) for page in pages
    ]


@pytest.mark.parametrize("page", runnable())
def test_the_code_on_a_page_runs_from_top_to_bottom(page: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs pip install 'zo-gym[plot]'")
    executed = extension("executed")
    blocks = executed.blocks_of(page)
    assert len(blocks) == page.read_text(encoding="utf-8").count("```python\n")
    namespace: dict[str, Any] = {}
    for block in blocks:
        executed.run(block, namespace)


def test_a_block_that_warns_fails_and_names_its_place(tmp_path: Path) -> None:
    executed = extension("executed")
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nimport warnings\n\nwarnings.warn('careful')\n```\n", encoding="utf-8")
    (block,) = executed.blocks_of(page)
    with pytest.raises(UserWarning, match="careful") as error:
        executed.run(block, {})
    last = error.traceback[-1]
    assert (str(last.path), last.lineno + 1) == (str(page), 6)


def test_the_output_of_a_block_is_what_it_prints_and_draws(tmp_path: Path) -> None:
    executed = extension("executed")
    code = "import matplotlib.pyplot as plt\n\nplt.figure()\nprint('shown')\n"
    output = executed.run(executed.Block(code, tmp_path / "page.md", 1), {})
    assert output.text == "shown\n"
    assert [figure[:8] for figure in output.figures] == [b"\x89PNG\r\n\x1a\n"]


# Tables of results


def used_files() -> set[tuple[str, str | None, str | None]]:
    """(File, problem, view) of every directive `{results}` on the pages."""
    found = set()
    for page in PAGES:
        for match in re.finditer(r"```\{results\} (\S+)\n((?::\w+:.*\n)*)```", page.read_text(encoding="utf-8")):
            options = dict(re.findall(r":(\w+): (.*)", match[2]))
            found.add((match[1], options.get("problem"), options.get("view")))
    return found


def test_every_stored_file_of_results_is_shown_and_every_shown_file_is_stored() -> None:
    assert {name for name, _, _ in used_files()} == {path.name for path in (DOCS / "results").glob("*.csv")}


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text.replace(",", ""))]


@pytest.mark.parametrize(("name", "problem", "view"), sorted(used_files(), key=str))
def test_a_table_shows_the_numbers_that_are_stored(name: str, problem: str | None, view: str | None) -> None:
    results = extension("results")
    table = results.build(name, problem, view)
    rows = [row for _, group in table.groups for row in group]
    assert all(len(row) == len(table.head) for row in rows)
    records = results.read(name)
    if "mean_all" not in records[0]:  # shown as it is: nothing is lost, nothing is added
        stored = [[cell for key, cell in record.items() if key != "group"] for record in records]
        assert [numbers(" ".join(row)) for row in rows] == [numbers(" ".join(row)) for row in stored]
        return
    problem = problem or records[0]["problem"]
    by_label = {record["label"]: record for record in records if record["problem"] == problem}
    assert {row[0] for row in rows} == set(by_label)
    if view is None:
        column = table.head.index(f"f at {int(next(iter(by_label.values()))['budget']):,}")
        for row in rows:
            record = by_label[row[0]]
            assert numbers(row[column]) == numbers(f"{record['mean_all']} {record['std_all']}")


def test_a_table_rounds_to_four_digits_of_the_least_final_value() -> None:
    results = extension("results")
    (record, *_) = results.read("paper.csv")
    exact = [{**record, "mean_all": f"{value}", "std_all": "0.0123456"} for value in (2.71828182, 0.314159265)]
    assert results.decimals(exact) == 4
    assert results.decimals([{**exact[1], "group": "reference"}, exact[0]]) == 3


def test_the_files_of_the_experiments_are_what_the_benchmarks_write() -> None:
    tables = pytest.importorskip("benchmarks.tables", exc_type=ImportError)
    for name in ("paper.csv", "policies.csv", "policy_ablations.csv"):
        header = (DOCS / "results" / name).read_text(encoding="utf-8").splitlines()[0]
        assert header == tables.csv_text([]).strip()


def test_the_headline_lines_up_the_gaps_of_all_datasets() -> None:
    table = extension("results").build("paper.csv", view="headline")
    stored = {(record["problem"], record["label"]): record for record in extension("results").read("paper.csv")}
    for _, group in table.groups:
        for label, *cells in group:
            for cell, problem in zip(cells, ("heart_scale", "german.numer_scale", "a9a"), strict=False):
                record = stored[problem, label]
                assert numbers(cell) == numbers(f"{record['gap']} {record['std_all']}")


def test_the_best_of_a_column_is_the_least_among_those_that_compete() -> None:
    table = extension("results").build("paper.csv", "heart_scale")
    gap = table.head.index("f - f*")
    (best,) = [(i, j) for i, j, k in table.best if k == gap]
    rivals = [row for heading, group in table.groups if not heading.startswith("Reference") for row in group]
    assert float(table.groups[best[0]][1][best[1]][gap]) == min(float(row[gap]) for row in rivals)


# Links and sources

LINK = re.compile(r"(?<!`)\[[^\]`]*(?:`[^`]*`[^\]`]*)*\]\((?P<target>[^)\s]+)\)")
INCLUDE = re.compile(r"```\{(?:figure|literalinclude|include)\} (?P<target>\S+)")


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def anchors_of(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#{1,3} (.+)$", text, flags=re.MULTILINE)
    return {anchor(heading) for heading in headings} | set(re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE))


@pytest.mark.parametrize(
    "page", [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))], ids=lambda p: p.name
)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    sources = anchors_of(DOCS / "bibliography.md")
    for match in [*LINK.finditer(text), *INCLUDE.finditer(text)]:
        target = match["target"]
        if target.startswith(("http://", "https://")):
            continue
        file, _, part = target.partition("#")
        place = page if not file else (page.parent / file).resolve()
        assert place.exists(), target
        if part:
            assert part in anchors_of(place) | (sources if not file else set()), target


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for match in re.finditer(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            entries = [line for line in match[1].split("\n") if line and not line.startswith(":")]
            listed |= {page.parent / f"{entry}.md" for entry in entries}
    assert listed == set(PAGES)


def docstrings(path: Path) -> str:
    """The docstrings and comments of a module."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join([*strings, *re.findall(r"#.*", text)])


def test_every_source_that_the_code_and_the_pages_cite_is_in_the_bibliography() -> None:
    module = extension("docstrings")
    known = module.anchors()
    code = [path for folder in ("zo_gym", "agents", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    texts = {path: docstrings(path) for path in code}
    texts |= {page: page.read_text(encoding="utf-8") for page in PAGES if page.name != "bibliography.md"}
    missing = []
    for path, text in texts.items():
        for source, cited in module.citations(" ".join(text.split())).items():
            looks_cited = "(" in cited or " et al" in cited or " and " in cited
            if looks_cited and source not in known:
                missing.append(f"{path.relative_to(ROOT)}: {cited}")
    assert not missing, "Add them to docs/bibliography.md, with the anchors that docs/_ext/docstrings.py makes."


# The built site


def test_the_reference_must_hold_every_public_name() -> None:
    names = extension("complete").public_names()
    assert {f"zo_gym.{name}" for name in zo_gym.__all__ if not name.startswith("__")} <= names
    assert {"zo_gym.samplers.true_gradient", "zo_gym.gradient_models.guided_gp", "zo_gym.updates.sharpened"} <= names
    # `complete` knows every table of the package, so that a new one cannot be forgotten.
    tables = {f"zo_gym.{name}" for name in zo_gym.__all__ if isinstance(getattr(zo_gym, name), dict)}
    assert tables - {"zo_gym.METHODS"} <= set(extension("complete").TABLES)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    """A public name that is missing is a warning; the code on the pages has a test of its own."""
    for module in ("sphinx", "furo", "myst_parser", "sphinx_copybutton", "sphinx_design", "stable_baselines3"):
        pytest.importorskip(module, reason="needs pip install 'zo-gym[agents,docs]'")
    site = tmp_path / "html"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "-D", "run_python=0"]
    command += ["-d", str(tmp_path / "doctrees"), str(DOCS), str(site)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    assert not done.stderr
    assert len(list(site.rglob("*.html"))) > len(PAGES)
    loads = re.compile(
        r"<(?:script|img|iframe|source)[^>]*\bsrc=\"([^\"]+)\"|<link[^>]*\brel=\"(?:stylesheet|icon)\"[^>]*\bhref=\"([^\"]+)\""
    )
    for path in site.rglob("*.html"):
        addresses = [a or b for a, b in loads.findall(path.read_text(encoding="utf-8"))]
        assert not [address for address in addresses if re.match(r"(https?:)?//", address)], path
    for path in (site / "_static").rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )['\"]?https?://", path.read_text(encoding="utf-8")), path
