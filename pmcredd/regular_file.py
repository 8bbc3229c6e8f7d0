"""Reads a file that a user named, whatever it turns out to be. Blocking."""

import errno
import os
import stat


def read_regular_file(path: str, *, limit: int) -> tuple[bytes, os.stat_result]:
    """Read at most `limit` + 1 bytes of a regular file (one more tells that it is too long); give its status, too.

    The status is that of the opened file, so nobody can exchange it between check and use. Raises OSError, also for a
    directory, a FIFO or a device.
    """
    # O_NONBLOCK: opening a FIFO would wait for its writer for ever. O_NOCTTY: a terminal must not become ours.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1), status
    finally:
        os.close(descriptor)
