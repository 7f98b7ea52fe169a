"""Nodes of a cluster on one machine: each in a network namespace with an address of its own.

They reach servers of this machine's loopback through forwarders on the one bridge that joins them, and
nothing else.
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_STOP_S = 20


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge with the address `gateway`, and the namespaces on it by their addresses."""

    gateway: str
    namespaces: Mapping[str, str]
    _started: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(
        self, address: str, command: Sequence[str], log: Path, **environment: str
    ) -> "subprocess.Popen[bytes]":
        """A command in the namespace that has an address, at the head of a process group."""
        with log.open("ab") as sink:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespaces[address], *command],
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def kill(self, address: str) -> int:
        """All that runs in a namespace, at once; how many processes that were."""
        killed = 0
        while pids := self._pids(address):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
            for process in self._started:
                process.poll()
            time.sleep(0.1)
        return killed

    def _pids(self, address: str) -> list[int]:
        found = subprocess.run(
            ["ip", "netns", "pids", self.namespaces[address]],
            capture_output=True,
            text=True,
            check=True,
        )
        return [int(pid) for pid in found.stdout.split()]

    def close(self) -> None:
        """Kill all that was started."""
        for address in self.namespaces:
            self.kill(address)
        for process in self._started:
            process.wait(_STOP_S)

    def run(self, address: str, command: Sequence[str], **environment: str) -> str:
        """What a command in a namespace prints. Raises CalledProcessError."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespaces[address], *command],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


def is_possible() -> bool:
    """Whether this process may make namespaces: as root it may, in most containers it may not."""
    name = f"nstprobe{os.getpid()}"
    try:
        _ip("netns", "add", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    _ip("netns", "delete", name)
    return True


@contextmanager
def network(num_nodes: int) -> Iterator[Network]:
    """A bridge, and so many namespaces on it. The subnet is of the range for benchmarks (RFC 2544)."""
    tag = f"{os.getpid() % 100_000:05}"
    subnet = f"198.18.{os.getpid() % 200 + 1}"
    bridge, gateway = f"nst{tag}", f"{subnet}.1"
    with ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "delete", bridge)
        _ip("address", "add", f"{gateway}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        namespaces = {}
        for number in range(1, num_nodes + 1):
            name, address = f"nst{tag}n{number}", f"{subnet}.{number + 1}"
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "delete", name)
            ours, theirs = f"nst{tag}o{number}", f"nst{tag}t{number}"
            _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
            _ip("link", "set", ours, "master", bridge, "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", theirs)
            _ip("-n", name, "link", "set", theirs, "up")
            _ip("-n", name, "link", "set", "lo", "up")
            namespaces[address] = name
        made = Network(gateway=gateway, namespaces=namespaces)
        stack.callback(made.close)
        yield made


@contextmanager
def forwarded(gateway: str, port: int) -> Iterator[None]:
    """What connects to a port of the gateway reaches the same port of this machine's loopback."""
    with socket.create_server((gateway, port)) as server:
        threading.Thread(target=_accept, args=(server, port), daemon=True).start()
        yield


def _accept(server: socket.socket, port: int) -> None:
    while True:
        try:
            theirs, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(theirs, port), daemon=True).start()


def _join(theirs: socket.socket, port: int) -> None:
    """Until both sides have said all."""
    with theirs, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as ours:
        answers = threading.Thread(target=_copy, args=(ours, theirs), daemon=True)
        answers.start()
        _copy(theirs, ours)
        answers.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
