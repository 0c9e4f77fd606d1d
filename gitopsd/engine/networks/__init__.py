"""The network side of the engine: bridges, endpoints, published ports, names.

networks                 the one object that the daemon uses, `Networks`
dns, names               `Resolver` answers containers' look-ups on the daemon's loop, from `Networks.names`
allocate, ruleset        which addresses, what our nftables tables say  [pure]
ports                    what may be published, and the sockets that reserve it
catalogue                the networks there are, and their records (network, store)
state, host              what there is, and the kernel made so: bridge, veth, transition, foreign, settings
watch                    mends what others undo

Kernel work is netlink and /proc/sys; no program is run.
"""
