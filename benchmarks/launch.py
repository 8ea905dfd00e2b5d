"""Run a command and print, after what it prints, its seconds and its largest resident size in KiB, one a line.

Linux counts a process's memory from its start, when it still is its parent's: this parent has little.
"""

import os
import subprocess
import sys
import time

started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print("", time.perf_counter() - started, usage.ru_maxrss, sep="\n")
sys.exit(os.waitstatus_to_exitcode(status))
