"""What pyproject.toml can't say: the compiled modules, which are left out where they can't be built."""

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            f"afunix.supervisor.{name}",
            [f"src/afunix/supervisor/{name}.c"],
            extra_compile_args=["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            optional=True,
        )
        for name in ("_trapcalls", "_endcalls")
    ]
    if sys.platform == "linux"
    else []
)
