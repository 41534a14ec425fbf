"""The systems compared: what stands before a program's own command line to run it there.

gVisor is Debian's package `runsc` (`apt-get install -y runsc`) with its ptrace platform, which needs no
hardware virtualization; newer releases from gVisor's own archive also have a faster platform, systrap,
which is not measured here. `runsc do` runs a program of the host in a sandbox whose root is the host's,
behind an overlay in memory; that works as root, and with `--rootless` without. The sandbox's own
processes inherit the CPU that `runsc` is pinned to. (Its output must go to a pipe: written to an
ordinary file, it starts at the file's beginning.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CHECKOUT", "SYSTEMS", "System", "absence"]

CHECKOUT = Path(__file__).resolve().parent.parent

AFUNIX = (sys.executable, "-m", "afunix", "run")
RUNSC = ("runsc", "--network=none", "--platform=ptrace", "--ignore-cgroups")


@dataclass(frozen=True, slots=True)
class System:
    """One way to run a program: `prefix` goes before its command line; `requires` is the executable or file
    without which it is not installed, `version` the command that tells its version.
    """

    name: str
    prefix: tuple[str, ...]
    requires: str
    version: tuple[str, ...] = ()


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System("native", (), "/bin/true"),
        System("afunix", (*AFUNIX, "--"), str(CHECKOUT / "src/afunix/__main__.py")),
        System("afunix-private", (*AFUNIX, "--private", "--"), str(CHECKOUT / "src/afunix/__main__.py")),
        System(
            "gvisor",
            (*RUNSC, *(("--rootless",) if os.geteuid() else ()), "do"),
            "runsc",
            ("runsc", "--version"),
        ),
        System("strace", ("strace", "-f", "-o", "/dev/null"), "strace", ("strace", "--version")),
    )
}


def absence(system: System, environment: Mapping[str, str]) -> str:
    """Why the system cannot be measured on this machine; empty if it can.

    "not installed" where its executable is missing, else what it said when it failed to run /bin/echo.
    """
    if shutil.which(system.requires) is None and not Path(system.requires).is_file():
        return "not installed"
    try:
        trial = subprocess.run(
            [*system.prefix, "/bin/echo", "stands"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "does not work: /bin/echo did not end in 30 s"
    if trial.returncode == 0 and trial.stdout == "stands\n":
        return ""
    said = trial.stderr.strip().splitlines()
    return f"does not work: exit status {trial.returncode}, {said[-1] if said else 'no message'}"
