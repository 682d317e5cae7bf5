"""Files that are old or new but never half-written, and where a run came from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zo_gym import files
from zo_gym.files import provenance, write_atomically, write_json, write_text


def test_a_file_is_written_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ä\n")
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "er" / "a.txt", "x")
    assert (tmp_path / "deep" / "er" / "a.txt").read_text() == "x"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_crash_while_writing_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def half(path: Path) -> None:
        path.write_bytes(b"ne")
        raise error

    with pytest.raises(type(error)):
        write_atomically(target, half)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]  # no temporary file stays behind


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def look(path: Path) -> None:
        path.write_text("new")
        assert target.read_text() == "old"
        assert path.parent == tmp_path  # the same file system, so that the rename is atomic

    write_atomically(target, look)
    assert target.read_text() == "new"


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    """Not even `finally` runs here."""
    target = tmp_path / "a.txt"
    target.write_text("old")
    code = (
        "import os, pathlib; from zo_gym.files import write_atomically\n"
        f"write_atomically(pathlib.Path({str(target)!r}), lambda p: (p.write_text('half'), os._exit(9)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 9
    assert target.read_text() == "old"


def test_json_holds_paths_as_text_and_ends_in_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": Path("c/d"), "e": [1, None, True]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"b": "c/d", "e": [1, None, True]}
    assert text.endswith("}\n")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_get_the_permissions_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a.bin", lambda path: path.write_bytes(b"x"))
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~umask}


def test_provenance_names_the_command_the_versions_and_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py", "--problem-options", '{"dim": 5}'])
    found = provenance()
    assert found["command"] == """train.py --problem-options '{"dim": 5}'"""
    assert found["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert set(found["versions"]) == {"zo-gym", "torch", "numpy", "gymnasium", "stable-baselines3"}
    assert all(found["versions"][name] for name in ("torch", "numpy", "gymnasium", "stable-baselines3"))
    json.dumps(found)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A repository with one commit, of a package "package" that holds our module."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    module = tmp_path / "package" / "module.py"
    module.parent.mkdir()
    module.write_text("a")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--no-verify", "-m", "first")
    monkeypatch.setattr(files, "__file__", str(module))
    return tmp_path


def test_the_commit_is_the_checkouts_and_says_if_files_differ(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    assert provenance()["git"] == commit
    (repository / "package" / "module.py").write_text("b")
    assert provenance()["git"] == f"{commit}-dirty"


@pytest.mark.parametrize("place", ["package/other.py", "venv/package/module.py"], ids=["untracked", "deeper"])
def test_the_repository_of_a_users_project_is_not_the_checkout(
    repository: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """zo_gym may be installed inside it: at its top, untracked, or in a folder, even if that is tracked."""
    module = repository / place
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text("a")
    if module.parent.parent != repository:
        git(repository, "add", ".")
        git(repository, "commit", "--no-verify", "-m", "second")
    monkeypatch.setattr(files, "__file__", str(module))
    assert provenance()["git"] is None


def test_without_a_checkout_or_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "__file__", str(tmp_path / "module.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance()["git"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git"] is None
