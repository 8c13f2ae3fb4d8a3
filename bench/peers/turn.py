"""A lock between processes, by a file."""
import fcntl


class Turn:
    """Of who warms up: libraries choose their algorithms by time then, and nobody else shall use the GPU meanwhile."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        if self.path:
            self.file = open(self.path, "w")
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        if self.path:
            self.file.close()
