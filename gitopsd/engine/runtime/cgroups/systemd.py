# pyright: basic
"""Where systemd is process 1, a container's cgroup is a scope that systemd makes: it owns the tree, we own what is below.

One D-Bus call (org.freedesktop.systemd1.Manager.StartTransientUnit) over the system bus, spoken with jeepney, in the daemon only.
"""

from __future__ import annotations

import os


def is_running() -> bool:
    """sd_booted(3): systemd is process 1."""
    return os.path.isdir("/run/systemd/system")


def start_scope(name: str, slice_name: str, pid: int, description: str) -> None:
    """Put a process in a new delegated scope and wait until systemd has done it. Raises OSError with systemd's words."""
    from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, message_bus, new_method_call
    from jeepney.io.blocking import Proxy, open_dbus_connection

    manager = DBusAddress(
        "/org/freedesktop/systemd1", bus_name="org.freedesktop.systemd1", interface="org.freedesktop.systemd1.Manager"
    )
    properties = [
        ("Description", ("s", description)),
        ("Slice", ("s", slice_name)),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [pid])),
        ("TasksMax", ("t", 2**64 - 1)),
        ("DefaultDependencies", ("b", False)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]
    call = new_method_call(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", (name, "fail", properties, []))
    with open_dbus_connection(bus="SYSTEM") as bus:
        removed = MatchRule(type="signal", interface=manager.interface, member="JobRemoved", path=manager.object_path)
        Proxy(message_bus, bus).AddMatch(removed)
        with bus.filter(removed, bufsize=64) as signals:
            reply = bus.send_and_get_reply(call, timeout=25)
            if reply.header.message_type == MessageType.error:
                raise OSError(
                    f"systemd did not start {name}: {reply.body[0] if reply.body else reply.header.fields.get(HeaderFields.error_name)}"
                )
            job = reply.body[0]
            while True:
                _, path, _, result = bus.recv_until_filtered(signals, timeout=25).body
                if path == job:
                    if result != "done":
                        raise OSError(f"systemd did not start {name}: {result}")
                    return
