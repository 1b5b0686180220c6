"""The command line: ``python -m step_llm``."""

from step_llm.cli.commands import main

__all__ = ["main"]
