"""`python -m step_llm` with a preset so small that several processes of it train in seconds.

tests/test_distributed.py has msrun start it: `python small_job.py train …`. With DIES=rank:step in
the environment that worker kills itself before that update, as a machine does that loses its power.
"""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from step_llm.cli import commands as cli
from step_llm.models import config

config.PRESETS["tiny"] = (16, 1, 1, 32, 2)


def die_at(rank, step):
    from step_llm.training.step import TrainStep

    update, count = TrainStep.__call__, [0]

    def dying(self, *inputs):
        count[0] += 1
        if self.group.rank == rank and count[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return update(self, *inputs)

    TrainStep.__call__ = dying


if __name__ == "__main__":
    if "DIES" in os.environ and os.environ.get("MS_ROLE") == "MS_WORKER":
        die_at(*map(int, os.environ["DIES"].split(":")))
    sys.exit(cli.main(sys.argv[1:]))
