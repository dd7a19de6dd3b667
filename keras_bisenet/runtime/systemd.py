"""Telling systemd how a service is doing, and the unit that starts it. No library is needed."""

from __future__ import annotations

import os
import shlex
import socket
import threading
from collections.abc import Callable, Sequence


def notify(state: str) -> bool:
    """Sends a state ("READY=1") to the service manager; False where there is none (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):  # a name that is in no file system
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(address)
            manager.sendall(state.encode())
    except OSError:
        return False
    return True


class Watchdog:
    """Reports that a service is ready, and feeds its watchdog, by its progress alone.

    Args:
        progress: A number that grows as the service does its work. The first growth makes it
            ready; where it stands still the manager hears nothing, and starts the service anew.
    """

    def __init__(self, progress: Callable[[], int]):
        self._progress = progress
        self._ended = threading.Event()
        period = int(os.environ.get("WATCHDOG_USEC") or 0) / 1e6
        self._pause = min(period / 3, 5.0) if period else 1.0
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if os.environ.get("NOTIFY_SOCKET"):
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        notify("STOPPING=1")

    def _watch(self) -> None:
        last = 0
        while not self._ended.wait(self._pause if last else 0.1):
            now = self._progress()
            if now > last:
                notify("WATCHDOG=1" if last else "READY=1\nWATCHDOG=1")
                last = now


def unit(command: Sequence[str], description: str, token_file: str | None = None) -> str:
    """A systemd unit that keeps `command` running.

    Args:
        command: The program, by its whole path, and its arguments.
        description: What it is.
        token_file: A file that the service reads its token from, which only root may read.
    """
    # Two characters mean something to systemd that they do not mean to a shell.
    words = " ".join(
        shlex.quote(word).replace("%", "%%").replace("$", "$$").replace("%%d/", "%d/")
        for word in command
    )
    credential = f"LoadCredential=token:{token_file}\n" if token_file else ""
    return f"""\
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={words}
{credential}# Fresh answers alone feed the watchdog: what hangs is started anew.
WatchdogSec=30
TimeoutStartSec=120
# SIGTERM is for the service alone, which ends its camera's program itself.
KillMode=mixed
Restart=on-failure
RestartSec=5
# A user that exists while the service runs, with the cameras and the Edge TPU within reach.
DynamicUser=yes
SupplementaryGroups=video render plugdev
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
UMask=0077

[Install]
WantedBy=multi-user.target
"""
