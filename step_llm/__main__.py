"""``python -m step_llm``: fetch, fetch-model, train, resume, evaluate, translate, info, …"""

import os
import sys

# MindSpore reads it when it is imported: show errors, not its own log.
os.environ.setdefault("GLOG_v", "3")

from step_llm.cli import main

if __name__ == "__main__":
    sys.exit(main())
