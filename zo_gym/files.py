"""Atomic writing of files, and the provenance that a run folder records."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("zo-gym", "torch", "numpy", "gymnasium", "stable-baselines3")
"""The distributions whose versions are recorded."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, then rename: `path` is the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # as open() would have made it
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text`, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def provenance() -> dict[str, Any]:
    """Return the command, the versions and the git commit behind a run."""
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "versions": versions,
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the checkout's commit, with "-dirty" where files differ from it; None for an installed package.

    An installed package may lie in the repository of a user's project, e.g. in its virtual environment. So the package
    must stand at the top of the repository, and the repository must track it.
    """
    module = Path(__file__).resolve()
    if _git("ls-files", "--full-name", module.name) != f"{module.parent.name}/{module.name}":
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40") or None


def _git(*arguments: str) -> str:
    """Return what a git command says of the package's folder; nothing where it fails."""
    command, folder = ["git", *arguments], Path(__file__).resolve().parent
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()
