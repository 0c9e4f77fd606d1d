"""Every value that crosses a wall between two rooms.  [pure]

Frozen dataclasses with no behaviour beyond reading themselves. `codec.py` turns them into JSON and back.
"""
