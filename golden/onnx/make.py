"""Makes the files of this folder: small networks as PyTorch's two exporters, tf2onnx and onnxruntime's quantizer write them.

NAME.in holds three images [3, 8, 8, 3] as raw floats, NAME.out what the network gives for them, images with channels last: by
PyTorch, or, if it is quantized, by onnxruntime.
Run with torch 2.15.0, onnx 1.23.2, onnxscript 0.7.2, onnxruntime 1.32.0 and numpy 2.4.6: python make.py
"""

import pathlib
import warnings

import numpy
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn

warnings.filterwarnings("ignore")
FOLDER = pathlib.Path(__file__).parent

class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                                      nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.ReLU6(), nn.AvgPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(6*2*2, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 5))
    def forward(self, x):
        x = self.features(x)
        return self.classifier(torch.flatten(x, 1))


class Mobile(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.dw = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.se1 = nn.Conv2d(8, 4, 1)
        self.se2 = nn.Conv2d(4, 8, 1)
        self.pw = nn.Conv2d(8, 8, 1)
        self.bn = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 3)
    def forward(self, x):
        x = F.hardswish(self.stem(x))
        y = F.relu(self.dw(x))
        s = F.adaptive_avg_pool2d(y, 1)
        s = F.hardsigmoid(self.se2(F.relu(self.se1(s))))
        y = self.bn(self.pw(y * s)) + x
        y = y.mean([2, 3])
        return F.softmax(self.head(y), dim=1)


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 6, 3, padding=1)
        self.c = nn.Conv2d(10, 4, 3, padding=1)
        self.p = nn.PReLU(4)
        self.d = nn.Conv2d(4, 2, 1)
    def forward(self, x):
        x = (x - 0.5) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
        a = F.leaky_relu(self.a(x), 0.1)
        b = F.silu(self.b(F.max_pool2d(a, 3, 2, 0, ceil_mode=True)))
        b = F.interpolate(b, scale_factor=2.0, mode="bilinear", align_corners=False)
        y = self.p(self.c(torch.cat([a, b], 1)))
        y = F.interpolate(y, size=(16, 16), mode="nearest")
        return self.d(F.avg_pool2d(F.pad(y, (1, 1, 0, 2)), 3, 1, 1))


class Senet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, bias=False)
        self.f1 = nn.Linear(8, 4)
        self.f2 = nn.Linear(4, 8)
        self.h = nn.Linear(8*6*6, 4)
    def forward(self, x):
        y = F.elu(self.a(x))
        s = y.mean((2, 3))
        s = torch.sigmoid(self.f2(F.relu(self.f1(s)))).view(x.size(0), 8, 1, 1)
        y = (y * s).clamp(-0.5, 2.0)
        return self.h(y.view(y.size(0), -1))


def without_notes(path):
    """Drops what the exporter notes about the Python code, which is most of the file."""
    model = onnx.load(path)
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    onnx.save(model, path)


def export(net, x, name):
    old = dict(dynamo=False, opset_version=13, dynamic_axes={"image": {0: "n"}})
    new = dict(dynamo=True, external_data=False, dynamic_shapes={"x": {0: torch.export.Dim("n", min=2)}})
    fixed = dict(dynamo=True, external_data=False)
    names = dict(input_names=["image"], output_names=["scores"])
    for exporter, options in dict(script=old, dynamo=new, fixed=fixed).items():
        path = FOLDER / f"{name}-{exporter}.onnx"
        torch.onnx.export(net, (x,), str(path), **names, **options)
        without_notes(path)


def save(name, x, y):
    (FOLDER / f"{name}.in").write_bytes(numpy.ascontiguousarray(x).astype("<f4").tobytes())
    (FOLDER / f"{name}.out").write_bytes(numpy.ascontiguousarray(y).astype("<f4").tobytes())


def keras(x):
    """What tf2onnx makes of a Keras network: images with channels last, transposed around each convolution."""
    numbers = numpy.random.default_rng(3)
    constant = lambda name, *sizes: numpy_helper.from_array(numbers.normal(size=sizes).astype("float32"), name)
    weights, bias, depthwise = constant("w", 4, 3, 3, 3), constant("b", 4), constant("d", 4, 1, 3, 3)
    dense, dense_bias = constant("k", 64, 5), constant("kb", 5)
    offset = constant("o", 1, 1, 1, 4)
    first, last = [0, 3, 1, 2], [0, 2, 3, 1]
    node = helper.make_node
    nodes = [
        node("Transpose", ["image"], ["t0"], perm=first),
        node("Conv", ["t0", "w", "b"], ["c0"], auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3]),
        node("Relu", ["c0"], ["r0"]),
        node("Transpose", ["r0"], ["t1"], perm=last),
        node("Add", ["t1", "o"], ["a0"]),
        node("Transpose", ["a0"], ["t2"], perm=first),
        node("Conv", ["t2", "d"], ["c1"], pads=[1, 1, 1, 1], group=4),
        node("Transpose", ["c1"], ["t3"], perm=last),
        node("Shape", ["t3"], ["s"]),
        node("Slice", ["s", "i0", "i1", "i0"], ["n"]),
        node("Concat", ["n", "im1"], ["target"], axis=0),
        node("Reshape", ["t3", "target"], ["flat"]),
        node("MatMul", ["flat", "k"], ["m"]),
        node("Add", ["m", "kb"], ["scores"]),
    ]
    list_of = lambda name, *values: numpy_helper.from_array(numpy.array(values, "int64"), name)
    graph = helper.make_graph(
        nodes,
        "keras",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 5])],
        [weights, bias, depthwise, dense, dense_bias, offset]
        + [list_of("i0", 0), list_of("i1", 1), list_of("im1", -1)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, FOLDER / "keras-tf2onnx.onnx")
    value = lambda tensor: torch.tensor(numpy_helper.to_array(tensor))
    y = F.relu(F.conv2d(F.pad(x, (0, 1, 0, 1)), value(weights), value(bias), stride=2))
    y = F.conv2d(y + value(offset).permute(0, 3, 1, 2), value(depthwise), padding=1, groups=4)
    return y.permute(0, 2, 3, 1).flatten(1) @ value(dense) + value(dense_bias)


class Images(CalibrationDataReader):
    def __init__(self, x):
        self.batches = iter([{"image": x}])

    def get_next(self):
        return next(self.batches, None)


def quantized(x):
    """The first network in 8 bits: signed or unsigned, per tensor or channel, asymmetric or symmetric."""
    signed, unsigned = QuantType.QInt8, QuantType.QUInt8
    symmetric = dict(ActivationSymmetric=True, WeightSymmetric=True)
    kinds = dict(
        signed=dict(activation_type=signed, weight_type=signed, per_channel=True),
        mixed=dict(activation_type=unsigned, weight_type=signed),
        unsigned=dict(activation_type=unsigned, weight_type=unsigned),
        symmetric=dict(activation_type=signed, weight_type=signed, extra_options=symmetric),
    )
    for name, kind in kinds.items():
        path = str(FOLDER / f"quantized-{name}.onnx")
        quantize_static(str(FOLDER / "vgg-script.onnx"), path, Images(x), quant_format=QuantFormat.QDQ, **kind)
        without_notes(path)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        save(f"quantized-{name}", x.transpose(0, 2, 3, 1), session.run(None, {"image": x})[0])
        (FOLDER / f"quantized-{name}.in").unlink()


def main():
    torch.manual_seed(1)
    for name, net in dict(vgg=Vgg(), mobile=Mobile(), unet=Unet(), senet=Senet()).items():
        net.eval()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        x = torch.randn(3, 3, 8, 8)
        export(net, x, name)
        y = net(x).detach().numpy()
        save(name, x.numpy().transpose(0, 2, 3, 1), y.transpose(0, 2, 3, 1) if y.ndim == 4 else y)
        if name == "vgg":
            quantized(x.numpy())
    x = torch.randn(3, 3, 8, 8)
    save("keras", x.numpy().transpose(0, 2, 3, 1), keras(x).numpy())


main()
