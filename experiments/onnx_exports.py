"""Exports networks of torchvision and Keras as ONNX, runs them in Taper and in onnxruntime, and prints how far apart they are.

Run with torch 2.15.0, torchvision 0.29.2, keras 3.15.1, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0 and pillow:
python experiments/onnx_exports.py TAPER [NAME ...], with the path of the release binary. Weights are random, so no file is
downloaded. Every other network is exported with a fixed batch of one image, and Taper runs it on two.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ["KERAS_BACKEND"] = "torch"
warnings.filterwarnings("ignore")

import keras
import numpy
import onnxruntime
import torch
from torchvision import models

# Networks of torchvision with the height and width of their images.
CLASSIFIERS = dict(
    densenet121=64,
    efficientnet_b0=96,
    efficientnet_v2_s=64,
    googlenet=96,
    inception_v3=128,
    mnasnet0_5=64,
    mobilenet_v2=96,
    mobilenet_v3_large=96,
    mobilenet_v3_small=96,
    regnet_y_400mf=64,
    resnet18=64,
    resnet50=64,
    resnext50_32x4d=64,
    squeezenet1_1=96,
    vgg11_bn=224,
)
SEGMENTERS = dict(deeplabv3_mobilenet_v3_large=96, fcn_resnet50=64, lraspp_mobilenet_v3_large=96)
KERAS = dict(MobileNet=96, MobileNetV2=96)


class Map(torch.nn.Module):
    """A segmenter that gives its map alone."""

    def __init__(self, segmenter):
        super().__init__()
        self.segmenter = segmenter

    def forward(self, x):
        return self.segmenter(x)["out"]


def torch_network(name):
    if name in SEGMENTERS:
        return Map(getattr(models.segmentation, name)(weights=None, weights_backbone=None))
    # Some initialise their weights only when told to.
    options = dict(init_weights=True) if name in ("googlenet", "inception_v3") else {}
    return getattr(models, name)(weights=None, **options)


def export_torch(name, size, path, fixed):
    network = torch_network(name).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    axes = {} if fixed else dict(dynamic_axes={"image": {0: "n"}})
    names = dict(input_names=["image"], output_names=["scores"], opset_version=17, dynamo=False)
    torch.onnx.export(network, (torch.randn(1, 3, size, size),), str(path), **names, **axes)


def export_keras(name, size, path):
    network = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    network.predict(numpy.zeros((1, size, size, 3), "float32"), verbose=0)
    network.export(str(path), format="onnx", verbose=False)


def compare(taper, path, images):
    """The greatest difference of the outputs, and the greatest output; `images` [N,H,W,3]."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        numpy.save(folder / "images.npy", images)
        command = [taper, "run", path, "--input", folder / "images.npy", "--output", folder / "outputs"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (output,) = (folder / "outputs").glob("*.npy")
        found = numpy.load(output)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    if port.shape[1] == 3:
        images = images.transpose(0, 3, 1, 2)
    expected = numpy.concatenate([session.run(None, {port.name: images[at : at + 1]})[0] for at in range(len(images))])
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    return numpy.abs(expected - found).max(), numpy.abs(expected).max()


def main():
    taper, *wanted = sys.argv[1:]
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    print("| network | image | batch | greatest difference | greatest output |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, size) in enumerate({**CLASSIFIERS, **SEGMENTERS, **KERAS}.items()):
            if wanted and name not in wanted:
                continue
            path, fixed = pathlib.Path(folder) / f"{name}.onnx", number % 2 == 0 and name not in KERAS
            if name in KERAS:
                export_keras(name, size, path)
            else:
                export_torch(name, size, path, fixed)
            images = numpy.random.default_rng(number).normal(size=(2, size, size, 3)).astype("float32")
            difference, greatest = compare(taper, path, images)
            batch = "fixed" if fixed else "open"
            print(f"| {name} | {size}² | {batch} | {difference:.1e} | {greatest:.2g} |", flush=True)


main()
