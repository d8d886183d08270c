"""Writes the small files of this folder, with Keras 3.15 (on JAX) and PyTorch 2.13; `python make.py keras` or `torch`.

A model of four layers as `.keras`, `.h5` and weights alone; a state dictionary in PyTorch's two formats and in a training
checkpoint; a pickled module, which readers must refuse.
"""

import os
import pathlib
import sys
import zipfile

HERE = pathlib.Path(__file__).parent


def with_keras():
    os.environ["KERAS_BACKEND"] = "jax"
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 3, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.Flatten(name="flat"),
            layers.Dense(2, name="dense", activation="softmax"),
        ],
        name="small",
    )
    model.save(HERE / "small.h5")
    model.save(HERE / "stored.keras")
    with zipfile.ZipFile(HERE / "stored.keras") as stored:
        with zipfile.ZipFile(HERE / "small.keras", "w", zipfile.ZIP_DEFLATED) as deflated:
            for name in stored.namelist():
                deflated.writestr(zipfile.ZipInfo(name), stored.read(name), zipfile.ZIP_DEFLATED)
    (HERE / "stored.keras").unlink()
    model.save_weights(HERE / "small.weights.h5")


def with_torch():
    import torch

    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(4, 2).half())
    state = model.state_dict()
    state["2.weight"] = state["2.weight"].t()
    torch.save(state, HERE / "small.pth")
    torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "model": state, "best": 0.5}, HERE / "checkpoint.pth")
    torch.save(model, HERE / "module.pth")


if __name__ == "__main__":
    {"keras": with_keras, "torch": with_torch}[sys.argv[1]]()
