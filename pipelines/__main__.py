"""`python -m pipelines …`: every step by hand, for people without Airflow and for repair at night."""

import signal
import sys

from pipelines.cli.main import main

if __name__ == "__main__":
    # Asked to end, a command stops what it started, as it does on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
