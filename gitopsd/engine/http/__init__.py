"""HTTP/1.1 for the engine: a server on asyncio for the API and the registry, a client on a unix socket. The rules are h11's."""
