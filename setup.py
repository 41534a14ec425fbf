"""What pyproject.toml can't say: the compiled module, which is left out where it can't be built."""

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "afunix.supervisor._trapcalls",
            ["src/afunix/supervisor/_trapcalls.c"],
            extra_compile_args=["-O2", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            optional=True,
        )
    ]
    if sys.platform == "linux"
    else []
)
