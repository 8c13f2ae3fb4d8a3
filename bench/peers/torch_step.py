#!/usr/bin/env python3
"""Whole training steps of the two MNIST models in PyTorch, eager, fp32: the peer of step_bench.

Same models, optimizers and batches; the clock runs from before a minibatch is indexed until after the update and the
reading of the loss. Images are floats before the clock starts, which is work that step_bench does inside it. Prints the
same JSON object as step_bench --json. An allocator that the caller preloads (LD_PRELOAD) is named in the banner.
"""
import argparse
import gzip
import json
import os
import sys
import time
from pathlib import Path

SHAPES = {"images": (60000, 28, 28), "labels": (60000,)}


def fail(message, code):
    print(f"torch_step.py: {message}", file=sys.stderr)
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        fail(message, 2)


def parse():
    parser = Parser(description="Training steps of the MNIST models in PyTorch.")
    parser.add_argument("--model", choices=("cnn", "mlp"), default="cnn")
    parser.add_argument("--data-folder", required=True, help="folder with MNIST's four files, or whose subfolder mnist has them")
    parser.add_argument("--batch", type=int, default=0, help="0 for the model's: 128 (cnn), 64 (mlp)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N]")
    parser.add_argument("--threads", type=int, default=0, help="0 for PyTorch's choice")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true", help="NHWC in memory, for the convolutions")
    parser.add_argument("--foreach", action="store_true", help="the optimizer's form over lists of tensors")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    if flags.steps < 1 or flags.warmup < 0 or flags.batch < 0 or flags.threads < 0:
        fail("expects at least one step, and no negative number", 2)
    flags.batch = flags.batch or (128 if flags.model == "cnn" else 64)
    return flags


def read(folder, kind):
    """Bytes of the training images or labels, without the header."""
    import numpy as np

    stem = f"train-{kind}-idx{len(SHAPES[kind])}-ubyte"
    for base in (Path(folder), Path(folder) / "mnist"):
        for name in (stem, f"{stem}.gz", f"train-{kind}.gz"):
            path = base / name
            if path.is_file():
                raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
                return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(SHAPES[kind])).reshape(SHAPES[kind])
    return fail(f"expected MNIST's {stem}[.gz] in {folder} or its subfolder mnist", 3)


def make_cnn(nn):
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))  # fmt: skip


def make_mlp(nn):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10))


def batches(torch, x, y, size, memory_format):
    """Minibatches without end, each of full size; a new order for every sweep."""
    while True:
        order = torch.randperm(len(x), device=x.device)
        for first in range(0, len(x) - size + 1, size):
            rows = order[first : first + size]
            yield x[rows].contiguous(memory_format=memory_format), y[rows]


def run(torch, flags):
    torch.manual_seed(flags.seed)
    if flags.threads:
        torch.set_num_threads(flags.threads)
    device = torch.device(flags.device)
    x = torch.from_numpy(read(flags.data_folder, "images") / 255.0).float().reshape(-1, 1, 28, 28).to(device)
    y = torch.from_numpy(read(flags.data_folder, "labels").copy()).long().to(device)
    memory_format = torch.channels_last if flags.channels_last else torch.contiguous_format
    net = (make_cnn if flags.model == "cnn" else make_mlp)(torch.nn).to(device, memory_format=memory_format)
    for layer in net:
        if hasattr(layer, "weight"):
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    if flags.model == "cnn":
        optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0, rho=0.95, eps=1e-7, foreach=flags.foreach)
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.2, foreach=flags.foreach)
    net.train()
    stream = batches(torch, x, y, flags.batch, memory_format)
    times, losses = [], []
    for _ in range(flags.warmup + flags.steps):
        begin = time.perf_counter()
        inputs, labels = next(stream)
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(net(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - begin))
    return times[flags.warmup :], losses


def quantile(samples, q):
    samples = sorted(samples)
    at = q * (len(samples) - 1)
    low = int(at)
    high = min(low + 1, len(samples) - 1)
    return samples[low] + (at - low) * (samples[high] - samples[low])


def main():
    flags = parse()
    try:
        import torch
    except ImportError as error:
        fail(f"expects a Python with PyTorch and NumPy, found: {error}", 1)
    times, losses = run(torch, flags)
    median = quantile(times, 0.5)
    forms = ["channels_last"] * flags.channels_last + ["foreach"] * flags.foreach
    preload = os.path.basename(os.environ.get("LD_PRELOAD", ""))
    if preload:
        forms.append(preload)
    result = {
        "program": "torch",
        "model": flags.model,
        "batch": flags.batch,
        "steps": flags.steps,
        "warmup": flags.warmup,
        "median_ms": median,
        "min_ms": min(times),
        "spread": quantile(times, 0.9) - quantile(times, 0.1),
        "images_per_s": 1e3 * flags.batch / median,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "device": flags.device,
        "threads": torch.get_num_threads(),
        "precision": "fp32",
        "banner": " ".join([f"PyTorch {torch.__version__} eager", *forms]),
        "providers": {f"torch {torch.backends.cpu.get_cpu_capability()}" if flags.device == "cpu" else "torch cuda": 1},
        "arena_bytes": None,
        "data": flags.data_folder,
    }
    if flags.json:
        print(json.dumps(result))
    else:
        print(result["banner"])
        print(
            f"{flags.model} batch {flags.batch}: median {median:.3f} ms, min {min(times):.3f}, spread (p90-p10) "
            f"{result['spread']:.3f}, {result['images_per_s']:.0f} images/s, {flags.steps} steps; "
            f"loss {losses[0]:.4f} to {losses[-1]:.4f}"
        )


if __name__ == "__main__":
    main()
