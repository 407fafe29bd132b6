"""Engines of others need libraries in versions of their own: each has a virtual environment, made when it is first needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from ..scenario import BenchmarkError, Tell
from .file_job import FileJob
from .job import PeerJob


def python_of(folder: Path, peer: ModuleType) -> Path:
    """The interpreter of a peer's environment; it may be missing. Other packages are another environment, and without any
    it is this one."""
    if not peer.PACKAGES:
        return Path(sys.executable)
    packages = " ".join(peer.PACKAGES)
    made_of = hashlib.sha256(f"{sys.version} {packages}".encode()).hexdigest()[:8]
    return folder / "peers" / f"{_module(peer)}-{made_of}" / "bin" / "python"


def ensure(folder: Path, peer: ModuleType, tell: Tell) -> None:
    """Make the environment if it is not there. It is whole or not there.

    Raises:
        BenchmarkError: the packages cannot be had.
    """
    python = python_of(folder, peer)
    whole = python.parent.parent / "whole"
    if whole.exists():
        return
    tell(f"installing {peer.PACKAGES[0]} in a virtual environment in {folder.name}/peers")
    home = python.parent.parent
    shutil.rmtree(home, ignore_errors=True)
    # Scripts name the place where they were made: it is made where it stays, and removed when it fails.
    for command in (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(home, ignore_errors=True)
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise BenchmarkError(
                f"{peer.LABEL} cannot be installed: {said[-1] if said else 'pip says nothing'}; "
                "let pip reach an index that has it, or name scenarios that need no other engine"
            )
    whole.touch()


def become(folder: Path, peer: ModuleType, work: str, job: PeerJob) -> NoReturn:
    """Go on in this process as a peer that does a job, with the same core and the same output."""
    python = python_of(folder, peer)
    command = [str(python), "-m", f"{__package__}.job", _module(peer), work]
    for name in ("servers", "source", "count", "sink", "partitions", "work", "name"):
        command += [f"--{name}", str(getattr(job, name))]
    os.execv(python, command)


def file_command(folder: Path, peer: ModuleType, work: str, job: FileJob) -> list[str]:
    """The command line with which a peer does a job over files."""
    command = [str(python_of(folder, peer)), "-m", f"{__package__}.file_job", _module(peer), work]
    for name in ("source", "output", "work"):
        command += [f"--{name}", str(getattr(job, name))]
    return command


def _module(peer: ModuleType) -> str:
    return peer.__name__.rpartition(".")[2]
