"""Checks and runs ONNX models in onnxruntime: one process for many models, raw little-endian files in and out.

FOLDER/jobs holds one line per model: its number and the size of the batch. For model K the folder holds K.onnx and, for each
input J, K.in.J. Each model is checked by onnx.checker, shapes included. This script writes K.out.J.
"""

import pathlib
import sys

import numpy
import onnx
import onnxruntime

TYPES = {"tensor(float)": numpy.float32, "tensor(int8)": numpy.int8, "tensor(uint8)": numpy.uint8}


def run(folder, number, batch):
    path = str(folder / f"{number}.onnx")
    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = {}
    for position, port in enumerate(session.get_inputs()):
        values = numpy.fromfile(folder / f"{number}.in.{position}", dtype=TYPES[port.type])
        shape = [size if isinstance(size, int) else batch for size in port.shape]
        feeds[port.name] = values.reshape(shape)
    for position, output in enumerate(session.run(None, feeds)):
        (folder / f"{number}.out.{position}").write_bytes(output.tobytes())


def main():
    folder = pathlib.Path(sys.argv[1])
    for line in (folder / "jobs").read_text().splitlines():
        number, batch = line.split()
        try:
            run(folder, number, int(batch))
        except Exception as error:
            sys.exit(f"model {number}: {error}")


main()
