"""In the place of the process that paints: it tells what it was started with, and waits for its end."""

import signal
from multiprocessing.connection import Connection


def main(fd: int) -> None:
    """Tell whether signals are ignored and none is held, then what is told first."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    connection = Connection(fd)
    connection.send([signal.getsignal(each) is signal.SIG_IGN for each in numbers])
    connection.send([*signal.pthread_sigmask(signal.SIG_BLOCK, ())])
    connection.send(connection.recv())
    connection.recv()
