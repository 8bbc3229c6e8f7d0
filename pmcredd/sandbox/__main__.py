"""Run the sandbox: `python -m pmcredd.sandbox`."""

import sys

from pmcredd.sandbox.command import main

if __name__ == "__main__":
    sys.exit(main())
