"""Notices when somebody changes what our networks stand on, and has it mended.

A thread that listens to the kernel's events: of nf_tables (a flush, a reload of firewalld, Docker's start), of interfaces (a bridge deleted or
taken down), of forwarding. Events of our own changes are known by the socket that made them and left aside.
A burst of events is mended once, `_QUIET_S` after its last one, at the latest `_LATEST_S` after its first. Who undoes at once what we mend
is answered at that pace and no faster.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from typing import Callable

from gitopsd.engine.kernel.netlink import links, nftables
from gitopsd.engine.kernel.netlink.connection import NETFILTER, ROUTE, Netlink
from gitopsd.engine.kernel.netlink.messages import Message

_QUIET_S, _LATEST_S, _PACE_S, _RETRY_S = 0.02, 0.2, 0.2, 1.0
_FORWARDING_GROUP, _NEWNETCONF = 24, 80  # RTNLGRP_IPV4_NETCONF, RTM_NEWNETCONF
_log = logging.getLogger(__name__)


class Watch:
    """`own_ports` are the netlink addresses of the sockets whose changes are ours, `prefixes` begin the names of our interfaces."""

    def __init__(self, mend: Callable[[], object], own_ports: tuple[int, ...], prefixes: tuple[str, ...]) -> None:
        self._mend = mend
        self._own_ports = own_ports
        self._prefixes = prefixes
        self._netfilter, self._route = Netlink.open(NETFILTER), Netlink.open(ROUTE)
        self._netfilter.join(nftables.GROUP)
        self._route.join(links.GROUP)
        self._route.join(_FORWARDING_GROUP)
        self._wake, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, name="networks-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._wake)
        self._netfilter.close()
        self._route.close()

    def _run(self) -> None:
        retry_s: float | None = None
        while not self._wait(retry_s):
            if not self._is_concerned() and retry_s is None:
                continue
            latest = time.monotonic() + _LATEST_S
            while time.monotonic() < latest and self._wait(_QUIET_S) is False:
                self._is_concerned()
            try:
                self._mend()
                retry_s = None
            except Exception:  # noqa: BLE001  whatever it was, networks are watched on
                _log.exception("networks could not be mended, trying again")
                retry_s = _RETRY_S
            if self._pause(_PACE_S):
                return

    def _wait(self, timeout_s: float | None) -> bool | None:
        """Wait for an event: False when there is one, None when the time is over, True when the watch ends."""
        poll = select.poll()
        for source in (self._wake, self._netfilter.socket, self._route.socket):
            poll.register(source, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)}
        return True if self._wake in ready else False if ready else None

    def _pause(self, duration_s: float) -> bool:
        """Let events gather; True when the watch ends."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        return bool(poll.poll(duration_s * 1000))

    def _is_concerned(self) -> bool:
        """Whether one of the events that wait is about us; read all of them."""
        events = [self._netfilter.events(), self._route.events()]
        return any(found is None or any(map(self._is_ours, found)) for found in events)

    def _is_ours(self, event: Message) -> bool:
        if event.port in self._own_ports:
            return False
        if event.kind in (links.NEWLINK, links.DELLINK):
            return links.read(event).name.startswith(self._prefixes) and (event.kind == links.DELLINK or links.went_down(event))
        return event.kind in (nftables.NEWGEN, _NEWNETCONF)  # a NEWGEN ends every transaction of nf_tables
