"""Prints the scalars that tensorboard's reader finds in a folder: TAG STEP VALUE, a line each.

  PY read_tensorboard.py FOLDER

PY is a Python that has tensorboard."""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
for tag in sorted(events.Tags()["scalars"]):
    for event in events.Scalars(tag):
        print(tag, event.step, event.value)
