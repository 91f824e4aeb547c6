"""Where ranks find one another: a store on loopback for one machine, on the first of the named ones for several."""

from __future__ import annotations

import errno
import os
import socket
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import DynamicRendezvousHandler, RendezvousTimeout

from pylm.errors import UsageError
from pylm.wording import param

__all__ = ["OneMachine", "meeting"]

PORT = 29400
LOOPBACK = "127.0.0.1"
JOIN = timedelta(minutes=10)
QUEUE = 2048  # ranks that may knock at once


class OneMachine(RendezvousHandler):
    """The rendezvous of one agent with itself, whose store nobody outside of the machine can reach.

    torch's own listens on every address, and its protocol knows no password.
    """

    def __init__(self) -> None:
        """Be open."""
        self._store: TCPStore | None = None
        self._closed = False

    def get_backend(self) -> str:
        """Return its name."""
        return "loopback"

    @property
    def use_agent_store(self) -> bool:
        """Ranks use this store too."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Return where the ranks meet, on a port that is free."""
        self._store = self._store or _served(LOOPBACK, 0)
        store = PrefixStore("agent", self._store)
        return RendezvousInfo(store, 0, 1, RendezvousStoreInfo(LOOPBACK, self._store.port))

    def is_closed(self) -> bool:
        """Say whether it was closed."""
        return self._closed

    def set_closed(self) -> None:
        """Close it."""
        self._closed = True

    def num_nodes_waiting(self) -> int:
        """Nobody else comes."""
        return 0

    def get_run_id(self) -> str:
        """Return what tells two launches apart."""
        return f"pylm-{os.getpid()}"

    def shutdown(self) -> bool:
        """Close it."""
        self._closed = True
        return True


class _Machines(DynamicRendezvousHandler):
    """torch's rendezvous of several agents, in which those that met before tell those that are new where.

    torch's own (2.13) says it in the first round alone: a machine that came back waited for it until it gave up.
    """

    def next_rendezvous(self) -> RendezvousInfo:
        """Return where the ranks meet, of this round and for all."""
        self._bootstrap_store_info = None
        return super().next_rendezvous()


def meeting(nodes: str | None) -> tuple[RendezvousHandler, int]:
    """Return the rendezvous, and of how many machines it is.

    Args:
        nodes: the machines, `NAME[:PORT],NAME…`; the first holds the store. None: this one alone.
    """
    if nodes is None:
        return OneMachine(), 1
    names = [name for name in nodes.split(",") if name]
    host, _, port = names[0].partition(":") if names else ("", "", "")
    if not host or not (port or str(PORT)).isdecimal() or not 0 < int(port or PORT) < 1 << 16:
        raise UsageError(f"{param('nodes', nodes)} names no machine", f"such as {param('nodes', f'a:{PORT},b')}")
    store = _joined(host, int(port or PORT))
    run, machines = f"pylm-{host}-{port or PORT}", len(names)
    backend = C10dRendezvousBackend(store, run)
    return _Machines.from_backend(
        run, store, backend, machines, machines, timeout=RendezvousTimeout(join=JOIN)
    ), machines


def _joined(host: str, port: int) -> TCPStore:
    """Return the store of several machines: served here where this is the first of them, else the first's."""
    if os.environ.get("SLURM_NODEID", "0") == "0":
        try:
            return _served(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"port {port} of {host} is taken", f"another one: {param('nodes', f'{host}:{port + 1},…')}"
                ) from None
            if error.errno != errno.EADDRNOTAVAIL:
                raise UsageError(f"{host}: {(error.strerror or str(error)).lower()}", "see what it is called") from None
    try:
        return TCPStore(host, port, is_master=False, timeout=JOIN)
    except RuntimeError as error:
        raise UsageError(
            f"nobody answers at {host}:{port} in {JOIN}: {str(error).splitlines()[0]}",
            f"start the same line on {host}, the first of {param('nodes')}",
        ) from None


def _served(host: str, port: int) -> TCPStore:
    """Return a store that listens on this address and no other."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(QUEUE)
        bound = listening.getsockname()[1]
        return TCPStore(
            host, bound, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach(), timeout=JOIN
        )
