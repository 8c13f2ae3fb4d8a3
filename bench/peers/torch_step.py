#!/usr/bin/env python3
"""Whole training steps of the two MNIST models in PyTorch: the peer of step_bench.

Same models, optimizers and batches; the clock runs from before a minibatch is indexed until after the update and the
reading of the loss. Images are floats before the clock starts, which is work that step_bench does inside it. Prints the
same JSON object as step_bench --json. An allocator that the caller preloads (LD_PRELOAD) is named in the banner.
"""
import contextlib

import harness


def parse():
    parser = harness.step_parser("Training steps of the MNIST models in PyTorch.")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N]")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast")
    parser.add_argument("--compile", action="store_true", help="forward with loss, and the update, by torch.compile")
    parser.add_argument("--channels-last", action="store_true", help="NHWC in memory, for the convolutions")
    parser.add_argument("--foreach", action="store_true", help="the optimizer's form over lists of tensors")
    return harness.parse(parser)


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
    x = torch.from_numpy(harness.read(flags.data_folder, "images") / 255.0).float().reshape(-1, 1, 28, 28).to(device)
    y = torch.from_numpy(harness.read(flags.data_folder, "labels").copy()).long().to(device)
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

    def forward(inputs, labels):
        low = flags.precision == "bf16"
        with torch.autocast(device.type, torch.bfloat16) if low else contextlib.nullcontext():
            outputs = net(inputs)
        return torch.nn.functional.cross_entropy(outputs.float(), labels)

    update = optimizer.step
    if flags.compile:
        forward, update = torch.compile(forward), torch.compile(update)
    stream = batches(torch, x, y, flags.batch, memory_format)

    def step():
        inputs, labels = next(stream)
        optimizer.zero_grad(set_to_none=True)
        loss = forward(inputs, labels)
        loss.backward()
        update()
        value = loss.item()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return value

    return harness.timed(step, flags)


def main():
    flags = parse()
    try:
        import torch
    except ImportError as error:
        harness.fail(f"expects a Python with PyTorch and NumPy, found: {error}", 1)
    times, losses = run(torch, flags)
    forms = [flags.precision, "compiled" if flags.compile else "eager"]
    forms += ["channels_last"] * flags.channels_last + ["foreach"] * flags.foreach
    harness.report(
        flags, times,
        program="torch",
        loss_first=losses[0],
        loss_last=losses[-1],
        device=flags.device,
        threads=torch.get_num_threads(),
        precision=flags.precision,
        banner=" ".join([f"PyTorch {torch.__version__}", *forms]),
        providers={f"torch {torch.backends.cpu.get_cpu_capability()}" if flags.device == "cpu" else "torch cuda": 1},
    )  # fmt: skip


if __name__ == "__main__":
    main()
