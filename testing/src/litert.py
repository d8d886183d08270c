"""Runs TFLite models in LiteRT: one process for many models, raw little-endian files in and out.

FOLDER/jobs holds one line per model: its number, the resolver, the number of samples. For model K the folder holds K.tflite
and, for each input J, K.in.J with all samples side by side. This script writes K.out.J in the same way, and K.names with the
names of all tensors.
"""

import pathlib
import sys

import numpy
from ai_edge_litert.interpreter import Interpreter, OpResolverType

RESOLVERS = {"reference": OpResolverType.BUILTIN_REF, "default": OpResolverType.AUTO}


def run(folder, number, resolver, samples):
    interpreter = Interpreter(
        model_path=str(folder / f"{number}.tflite"),
        experimental_op_resolver_type=RESOLVERS[resolver],
        num_threads=1,
    )
    interpreter.allocate_tensors()
    inputs = []
    for position, detail in enumerate(interpreter.get_input_details()):
        values = numpy.fromfile(folder / f"{number}.in.{position}", dtype=detail["dtype"])
        inputs.append((detail["index"], values.reshape([samples, *detail["shape"]])))
    details = interpreter.get_output_details()
    outputs = [[] for _ in details]
    for sample in range(samples):
        for index, values in inputs:
            interpreter.set_tensor(index, values[sample])
        interpreter.invoke()
        for output, detail in zip(outputs, details):
            output.append(interpreter.get_tensor(detail["index"]).tobytes())
    for position, output in enumerate(outputs):
        (folder / f"{number}.out.{position}").write_bytes(b"".join(output))
    names = [detail["name"] for detail in interpreter.get_tensor_details()]
    (folder / f"{number}.names").write_text("\n".join(names), encoding="utf-8")


def main():
    folder = pathlib.Path(sys.argv[1])
    for line in (folder / "jobs").read_text().splitlines():
        number, resolver, samples = line.split()
        try:
            run(folder, number, resolver, int(samples))
        except Exception as error:
            sys.exit(f"model {number}: {error}")


main()
