"""The scripts in examples/ run as a user runs them, print what they found, and stay short."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))
NEEDS_AGENTS = {"environment_and_agent", "attack"}
PRINTS = {
    "own_black_box": "Budget spent",
    "ask_and_tell": "gp-tr:  f = ",
    "environment_and_agent": "learn_while_descending",
    "attack": "fooled",
}
"""What a user sees, by script."""


def test_every_example_is_known_here() -> None:
    assert {path.stem for path in EXAMPLES} in ({*PRINTS}, set())  # none where only the package is installed


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if path.stem in NEEDS_AGENTS and importlib.util.find_spec("stable_baselines3") is None:
        pytest.skip("needs pip install 'zo-gym[agents]'")
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    assert PRINTS[path.stem] in capsys.readouterr().out
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_fits_on_its_page(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 92
