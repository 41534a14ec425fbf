"""The same without any privilege: the tests of this directory's parts, run by another user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = 65534
HERE = Path(__file__).parent


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests are unprivileged already")
@pytest.mark.parametrize("part", ["listener", "memory", "tasks", "launch", "hostcalls"])
def test_as_another_user(part: str, tmp_path: Path) -> None:
    """What needs root is skipped; what only others can meet is not."""
    base = Path(f"/tmp/afunix-unprivileged-{os.getpid()}-{part}")
    base.mkdir()
    os.chown(base, NOBODY, NOBODY)
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", sys.executable, "-m", "pytest"]
    command += ["-q", "-p", "no:cacheprovider", f"--basetemp={base}/pytest", f"test_supervisor_{part}.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        result = subprocess.run(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, check=False, timeout=100)
    finally:
        shutil.rmtree(base)
    assert result.returncode == 0, result.stdout.decode()[-5000:]
    assert b" passed" in result.stdout
