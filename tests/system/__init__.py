"""System tests: real processes, each natively and, the same file, under `afunix run`, with the same result."""
