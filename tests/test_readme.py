"""What the README promises: its metrics table is the code's, its commands exist, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest

from zo_gym.metrics import table

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_shows_the_table_of_metrics_as_it_is_in_the_code() -> None:
    assert table() in TEXT


def test_the_readme_has_examples() -> None:
    assert EXAMPLES


def line_of(example: str) -> int:
    return TEXT[: TEXT.index(example)].count("\n") + 1


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"line-{line_of(example)}" for example in EXAMPLES])
def test_an_example_runs_by_itself(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = mpl.get_backend()
    mpl.use("Agg")
    try:
        exec(compile("\n" * (line_of(example) - 1) + example, str(README), "exec"), {"__name__": "__main__"})
    finally:
        mpl.use(before)
