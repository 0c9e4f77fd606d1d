"""The kernel's calls that Python has no word for, and nothing else: the only room that knows ctypes and numbers of calls."""
