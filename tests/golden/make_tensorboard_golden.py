"""Writes tensorboard/, what tests/launch/tensorboard_test.cpp has to write, by tensorboard's own
record writer and messages, and reads it back by tensorboard's own reader.

  PY make_tensorboard_golden.py

PY is a Python that has tensorboard 2.21.0."""
import os
import pathlib
import tempfile

import tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

HERE = pathlib.Path(__file__).parent / "tensorboard"
FIRST_TIME = 1_700_000_000.25


def scalar(tag, value):
    return summary_pb2.Summary.Value(tag=tag, simple_value=value)


def text(tag, content):
    plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
    shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
    tensor = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_STRING, string_val=[content.encode()], tensor_shape=shape)
    return summary_pb2.Summary.Value(
        tag=tag, tensor=tensor, metadata=summary_pb2.SummaryMetadata(plugin_data=plugin))


def values_of(*values):
    return {"summary": summary_pb2.Summary(value=values)}


# As the test calls it: a step and what is written of it.
FIRST = [
    (0, {"file_version": "brain.Event:2"}),
    (0, values_of(scalar("eval/loss", 3.5))),
    (1, values_of(scalar("train/loss", 2.25))),
    (1, values_of(scalar("train/learning_rate", 1e-4))),
    (2, values_of(scalar("train/loss", 1.1))),
    (3, values_of(scalar("train/loss", 0.7))),
    (3, values_of(scalar("train/grad_norm", float("nan")))),
    (300, values_of(text("samples/0", "**Zwölf** \U0001f950\n" + "x" * 300))),
]
# The run goes on after step 2.
RESUMED = [
    (0, {"file_version": "brain.Event:2"}),
    (3, {"session_log": event_pb2.SessionLog(status=event_pb2.SessionLog.START)}),
    (3, values_of(scalar("train/loss", 0.75))),
    (1_000_000_000, values_of(scalar("train/loss", 0.0))),
]


def write(path, events):
    """One event per second."""
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for number, (step, what) in enumerate(events):
            event = event_pb2.Event(wall_time=FIRST_TIME + number, step=step, **what)
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def main():
    assert tensorboard.__version__ == "2.21.0", tensorboard.__version__
    HERE.mkdir(exist_ok=True)
    write(HERE / "first", FIRST)
    write(HERE / "resumed", RESUMED)
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(("first", "resumed")):
            os.link(HERE / name, f"{folder}/events.out.tfevents.{number}")
        events = read(folder)
        losses = [(e.step, e.value) for e in events.Scalars("train/loss")]
        expected = [(1, 2.25), (2, 1.1), (3, 0.75), (1_000_000_000, 0.0)]
        assert [step for step, _ in losses] == [step for step, _ in expected], losses
        assert all(abs(a - b) < 1e-6 for (_, a), (_, b) in zip(losses, expected)), losses
    with tempfile.TemporaryDirectory() as folder:
        os.link(HERE / "first", f"{folder}/events.out.tfevents.0")
        written = read(folder).Tensors("samples/0")[0]
        content = tensor_util.make_ndarray(written.tensor_proto)[0].decode()
        assert (written.step, content[:9]) == (300, "**Zwölf**"), written


if __name__ == "__main__":
    main()
