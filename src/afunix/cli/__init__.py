"""The afunix command."""
