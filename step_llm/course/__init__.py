"""What the lessons use: where they run, the checks of their exercises, worked arithmetic."""

from step_llm.course.lesson import about, is_quick, run_folder, stoppable

__all__ = ["about", "is_quick", "run_folder", "stoppable"]
