from .common import RouterClosed
