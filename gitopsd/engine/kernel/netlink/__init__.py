"""Netlink, by which a process configures the kernel's network: our own codec, because the libraries are slow or fall short.

attributes, messages    the form of every message  [pure]
connection              a socket that speaks it, opened here or handed over
links, addressing       rtnetlink: interfaces, addresses, routes  [pure]
expressions, nftables   nf_tables: rules, sets, maps, whole tables  [pure]
traffic                 programs that see what comes in by an interface  [pure]
conntrack               connections that the kernel tracks  [pure]

A pure module makes `Request` values and reads what comes back; `connection.Netlink` is what sends them.
"""
