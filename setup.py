"""What pyproject.toml can't say: the compiled modules, which are left out where they can't be built."""

import os
import sys
import sysconfig

from setuptools import Extension, setup


def modules() -> list[str]:
    """Those that this platform can have, as paths without the ending."""
    found = []
    if sys.platform == "linux":
        found += ["supervisor/_trapcalls", "supervisor/_endcalls"]
    # Where threads run without an interpreter's lock there is none to hand over.
    if os.name == "posix" and not sysconfig.get_config_var("Py_GIL_DISABLED"):
        found.append("inproc/_parking")
    return found


setup(
    ext_modules=[
        Extension(
            "afunix." + module.replace("/", "."),
            [f"src/afunix/{module}.c"],
            extra_compile_args=["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            optional=True,
        )
        for module in modules()
    ]
)
