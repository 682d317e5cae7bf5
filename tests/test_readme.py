"""What the README promises: its examples run, its commands exist, and it stays short."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(not TEXT, reason="the README is not here")


def test_the_readme_is_short() -> None:
    assert len(TEXT.encode()) <= 7000


def test_the_readme_has_examples() -> None:
    assert EXAMPLES


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^make ([\w-]+)", TEXT, flags=re.MULTILINE))
    assert {"train", "test"} <= targets
    known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert targets <= set(known)


def test_the_methods_of_the_readme_exist() -> None:
    from zo_gym.auto import AUTO
    from zo_gym.baselines import BASELINES
    from zo_gym.methods import METHODS, added_methods

    known = {AUTO, *METHODS, *BASELINES, *added_methods()}
    table = TEXT[TEXT.index("`method=`") : TEXT.index("## What learning is worth")]
    named = {name.partition(":")[0] for name in re.findall(r"`\"([\w:-]+)\"`", table)}
    assert len(named) >= 6
    assert named <= known


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
