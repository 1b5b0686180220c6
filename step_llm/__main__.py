"""``python -m step_llm``: fetch, train, resume, evaluate, translate, info, check, demo."""

import os
import sys

# MindSpore reads it when it is imported: show errors, not its own log.
os.environ.setdefault("GLOG_v", "3")

from step_llm.cli import main

if __name__ == "__main__":
    sys.exit(main())
