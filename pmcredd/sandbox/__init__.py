"""A ProcessMaker look-alike on a loopback port, for dry runs, the demo and tests (extra `sandbox`)."""
