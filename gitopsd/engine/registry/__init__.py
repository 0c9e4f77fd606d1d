"""The distribution protocol: a client for pulling and pushing, and the registry that this engine can be."""
