"""A small set-up under the real supervisor: `python -m tests.site.supervised FOLDER`. Its children are dummies:
`plain` sleeps, `stubborn` ignores SIGTERM and has started a process in a session of its own."""

import os
import sys
from pathlib import Path

from hub.site.bootstrap import front
from hub.site.bootstrap.requirements import CHECKOUT
from hub.site.bootstrap.setup_progress import write_json
from hub.site.bootstrap.supervisor import ChildSpec, StopRequested, Supervisor

PLAIN = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""


def supervise(folder: Path, front_pid: int) -> int:
    supervisor: Supervisor

    def note() -> None:
        content = {"front": front_pid, "supervisor": os.getpid(), "children": supervisor.pids()}
        write_json(folder / "state.json", content)

    supervisor = Supervisor(
        env=dict(os.environ), cwd=CHECKOUT, logs=folder / "logs", parent_pid=front_pid, on_change=note
    )
    supervisor.obey_signals()
    try:
        for name, code in (("plain", PLAIN), ("stubborn", STUBBORN)):
            supervisor.start(ChildSpec(name, (sys.executable, "-S", "-c", code)))
        supervisor.run_forever()
    except StopRequested:
        return 0
    finally:
        supervisor.stop(grace_s=1.0)
    return 1


if __name__ == "__main__":
    sys.exit(front.run_behind(lambda front_pid: supervise(Path(sys.argv[1]), front_pid)))
