"""Starting processes inside containers: launcher, monitor, init, exec, worker.

What is imported here lives in every monitor's memory: no asyncio, no dataclasses, no logging below this folder.
"""
