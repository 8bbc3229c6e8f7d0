"""The command `pmcredd`: how the daemon's modules are loaded, and nothing else."""

import gc
import signal
import sys


def main() -> int:
    """Load the daemon and run it; gives its exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports is not worth a traceback
    # What is imported stays for life; to have the collector look at it again and again costs a seventh of the start.
    gc.disable()
    from pmcredd import daemon

    gc.freeze()
    gc.enable()
    return daemon.main()


if __name__ == "__main__":
    sys.exit(main())
