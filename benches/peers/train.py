#!/usr/bin/env python3
"""Training steps of Taper and of PyTorch, in turns, on this machine.

Sets up nothing: give it a Python with torch from PyPI, and a release build of taper.

    python benches/peers/train.py --taper target/release/taper --network vgg16 --batch 256 --threads 2 --rounds 5

Each round runs Taper (`taper bench train`) and each of PyTorch's layouts once; medians over the rounds are told, and the
ratio of Taper to the best of PyTorch's. A step is forward, loss, backward and Adam.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

# Output channels of VGG-16's convolutions, block by block, and of a pruned VGG with 12 thousand parameters.
WIDTHS = {
    "vgg16": [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]],
    "vgg16-pruned": [[7, 9], [12, 11], [16, 13, 10], [14, 9, 8], [6, 5, 12]],
}
CLASSES = 10


def vgg(torch, widths):
    nn = torch.nn
    layers, channels = [], 1
    for block in widths:
        for width in block:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, CLASSES))


def resnet50(torch):
    """ResNet-50 as Keras builds it: the stride is that of a stage's first 1x1 convolution, and convolutions have biases."""
    nn = torch.nn

    def normalised(inputs, width, kernel, stride=1):
        return [nn.Conv2d(inputs, width, kernel, stride, kernel // 2), nn.BatchNorm2d(width)]

    class Bottleneck(nn.Module):
        def __init__(self, inputs, width, stride, projects):
            super().__init__()
            self.body = nn.Sequential(
                *normalised(inputs, width, 1, stride), nn.ReLU(inplace=True),
                *normalised(width, width, 3), nn.ReLU(inplace=True),
                *normalised(width, 4 * width, 1))
            self.shortcut = nn.Sequential(*normalised(inputs, 4 * width, 1, stride)) if projects else nn.Identity()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    layers = [*normalised(1, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
    inputs = 64
    for width, blocks, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for block in range(blocks):
            layers.append(Bottleneck(inputs, width, stride if block == 0 else 1, block == 0))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


def mobilenet_v1(torch):
    nn = torch.nn

    def normalised(inputs, width, kernel, stride, groups=1):
        convolution = nn.Conv2d(inputs, width, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(width), nn.ReLU6(inplace=True)]

    layers, inputs = normalised(1, 32, 3, 2), 32
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for width, stride in blocks:
        layers += normalised(inputs, inputs, 3, stride, groups=inputs) + normalised(inputs, width, 1, 1)
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(1e-3), nn.Linear(inputs, CLASSES))


# Networks, and the side of their images.
NETWORKS = {
    "vgg16": (lambda torch: vgg(torch, WIDTHS["vgg16"]), 28),
    "vgg16-pruned": (lambda torch: vgg(torch, WIDTHS["vgg16-pruned"]), 28),
    "resnet50": (resnet50, 128),
    "mobilenet-v1": (mobilenet_v1, 128),
}


def torch_child(network, batch, threads, layout, seconds):
    """Times PyTorch in this process, and prints images/s and peak memory as JSON."""
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    build, side = NETWORKS[network]
    form = {"nchw": torch.contiguous_format, "channels-last": torch.channels_last}[layout]
    model = build(torch).to(memory_format=form)
    images = torch.randn(batch, 1, side, side).contiguous(memory_format=form)
    labels = torch.arange(batch) % CLASSES
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    loss_of = torch.nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    step()
    step()
    times, begun = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < seconds:
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    print(json.dumps({
        "images_per_s": batch / statistics.median(times),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "version": torch.__version__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }))


def last_json(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taper", default="target/release/taper")
    parser.add_argument("--network", choices=sorted(NETWORKS), default="vgg16")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each engine in each round")
    parser.add_argument("--torch-child", choices=["nchw", "channels-last"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch_child:
        return torch_child(args.network, args.batch, args.threads, args.torch_child, args.seconds)

    taper = [args.taper, "bench", "train", "--network", args.network, "--batch", str(args.batch),
             "--threads", str(args.threads), "--seconds", str(args.seconds), "--json"]
    peer = [sys.executable, __file__, "--network", args.network, "--batch", str(args.batch),
            "--threads", str(args.threads), "--seconds", str(args.seconds), "--torch-child"]
    engines = {"taper": taper, "torch nchw": [*peer, "nchw"], "torch channels-last": [*peer, "channels-last"]}
    results = {name: [] for name in engines}
    for round_number in range(args.rounds):
        for name, command in engines.items():
            result = last_json(command)
            results[name].append(result)
            print(f"round {round_number + 1}  {name:<20} {result['images_per_s']:10.1f} images/s", flush=True)
    print(f"\n{args.network}, batch {args.batch}, {args.threads} threads, medians of {args.rounds} rounds")
    speeds = {}
    for name, runs in results.items():
        speeds[name] = statistics.median(run["images_per_s"] for run in runs)
        memory = statistics.median(run["peak_memory_bytes"] for run in runs)
        version = runs[0].get("version", "")
        print(f"{name:<20} {speeds[name]:10.1f} images/s   peak memory {memory / 1e6:7.0f} MB   {version}")
    best = max(speed for name, speed in speeds.items() if name != "taper")
    print(f"taper / best of torch  {speeds['taper'] / best:.2f}")


if __name__ == "__main__":
    main()
