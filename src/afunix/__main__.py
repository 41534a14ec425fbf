"""`python -m afunix` is the afunix command."""

from __future__ import annotations

import sys

from afunix.cli.main import main

sys.exit(main())
