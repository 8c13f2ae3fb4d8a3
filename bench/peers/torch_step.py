#!/usr/bin/env python3
"""Whole training steps of the two MNIST models in PyTorch: the peer of step_bench; with --epochs, of epochs_bench.

Same models, optimizers and batches; the clock runs from before a minibatch is indexed until after the update and the
reading of the loss. Images are floats on the device before the clock starts, which is work that step_bench does inside
it. On a GPU, losses of 32 steps are read together, as Tenon's are, and --graph makes the whole step, indexing included,
part of one CUDA graph of so many steps. On the CPU --graph runs the same code unrecorded, which is for trying it out.
Prints the same JSON object as step_bench --json. An allocator that the caller preloads (LD_PRELOAD) is in the banner.
"""
import contextlib

import harness


def parse():
    parser = harness.step_parser("Training steps of the MNIST models in PyTorch.")
    harness.device_flags(parser)
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help="bf16: autocast, the rest in tf32")
    parser.add_argument("--compile", action="store_true", help="forward with loss, and the update, by torch.compile")
    parser.add_argument("--mode", choices=("default", "max-autotune", "reduce-overhead"), default="default", help="of --compile")
    parser.add_argument("--graph", action="store_true", help="steps as one CUDA graph")
    parser.add_argument("--channels-last", action="store_true", help="NHWC in memory, for the convolutions")
    parser.add_argument("--foreach", action="store_true", help="the optimizer's form over lists of tensors; the default on a GPU")
    flags = harness.parse(parser)
    if flags.graph and flags.mode == "reduce-overhead":
        harness.fail("--mode reduce-overhead records graphs of its own, --graph does not go with it", 2)
    return flags


def make_cnn(nn):
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))  # fmt: skip


def make_mlp(nn):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10))


class Training:
    """Model, optimizer and data on the device. block(n) makes n steps of full minibatches, on and on over the data."""

    def __init__(self, torch, flags):
        self.torch, self.flags = torch, flags
        if flags.threads:
            torch.set_num_threads(flags.threads)
        exact = flags.precision == "fp32"
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = not exact
        torch.set_float32_matmul_precision("highest" if exact else "high")
        self.device = torch.device(flags.device)
        self.on_gpu = self.device.type == "cuda"
        self.format = torch.channels_last if flags.channels_last else torch.contiguous_format
        self.x, self.y = self.load("train")
        self.net = (make_cnn if flags.model == "cnn" else make_mlp)(torch.nn).to(self.device, memory_format=self.format)
        parameters = self.net.parameters()
        foreach = flags.foreach or self.on_gpu
        if flags.model == "cnn":
            capturable = {"capturable": True} if self.on_gpu and (flags.graph or flags.compile) else {}
            self.optimizer = torch.optim.Adadelta(parameters, lr=1.0, rho=0.95, eps=1e-7, foreach=foreach, **capturable)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=0.2, foreach=foreach)
        self.net.train()
        self.forward, self.update = self.plain_forward, self.optimizer.step
        if flags.compile:
            # The whole step is recorded already: a graph inside a graph is none.
            mode = "max-autotune-no-cudagraphs" if flags.mode == "max-autotune" else flags.mode
            self.forward = torch.compile(self.plain_forward, mode=mode)
            self.update = torch.compile(self.optimizer.step)
        # Rows of the data in the order in which minibatches take them, and how far they got: read by recorded steps.
        self.order = torch.arange(len(self.x) // flags.batch * flags.batch, device=self.device)
        self.position = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.recordings = {}
        self.reset(flags.seed)

    def load(self, part):
        images = self.torch.from_numpy(harness.read(self.flags.data_folder, "images", part) / 255.0).float()
        labels = self.torch.from_numpy(harness.read(self.flags.data_folder, "labels", part).copy()).long()
        return images.reshape(-1, 1, 28, 28).to(self.device), labels.to(self.device)

    def reset(self, seed):
        """New weights in the same memory, as what is recorded has its addresses."""
        self.torch.manual_seed(seed)
        with self.torch.no_grad():
            for layer in self.net:
                if hasattr(layer, "weight"):
                    self.torch.nn.init.xavier_uniform_(layer.weight)
                    self.torch.nn.init.zeros_(layer.bias)
            for state in self.optimizer.state.values():
                for value in state.values():
                    if self.torch.is_tensor(value):
                        value.zero_()
        self.shuffle()

    def shuffle(self):
        self.order.copy_(self.torch.randperm(len(self.x), device=self.device)[: len(self.order)])
        self.position.zero_()
        self.at = 0

    def plain_forward(self, inputs, labels):
        low = self.flags.precision == "bf16"
        with self.torch.autocast(self.device.type, self.torch.bfloat16) if low else contextlib.nullcontext():
            outputs = self.net(inputs)
        return self.torch.nn.functional.cross_entropy(outputs.float(), labels)

    def step(self, rows):
        inputs, labels = self.x[rows].contiguous(memory_format=self.format), self.y[rows]
        self.optimizer.zero_grad(set_to_none=True)
        if self.flags.mode == "reduce-overhead":
            self.torch.compiler.cudagraph_mark_step_begin()
        loss = self.forward(inputs, labels)
        loss.backward()
        self.update()
        return loss.detach().clone() if self.flags.mode == "reduce-overhead" else loss.detach()

    def next_step(self):
        """A step whose rows the host names."""
        if self.at == len(self.order):
            self.shuffle()
        self.at += self.flags.batch
        return self.step(self.order[self.at - self.flags.batch : self.at])

    def recorded_step(self, size):
        """A step whose rows the device finds by itself, so that a recording of it goes on."""
        rows = self.order.index_select(0, self.position + self.torch.arange(size, device=self.device))
        self.position.add_(size).remainder_(len(self.order))
        return self.step(rows)

    def record(self, count, size):
        """A function that makes `count` steps and gives their losses, still on the device."""

        def steps():
            return self.torch.stack([self.recorded_step(size) for _ in range(count)])

        if not self.on_gpu:
            return steps
        # The first steps make the optimizer's state and choose algorithms, which cannot be recorded.
        side = self.torch.cuda.Stream()
        side.wait_stream(self.torch.cuda.current_stream())
        with self.torch.cuda.stream(side):
            for _ in range(3):
                self.recorded_step(size)
        self.torch.cuda.current_stream().wait_stream(side)
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            losses = steps()

        def replay():
            graph.replay()
            return losses

        return replay

    def run(self, count, size):
        if not self.flags.graph:
            return self.torch.stack([self.next_step() for _ in range(count)])
        if (count, size) not in self.recordings:
            self.recordings[count, size] = self.record(count, size)
        return self.recordings[count, size]()

    def block(self, count):
        return self.run(count, self.flags.batch).tolist()  # waits

    def epoch(self):
        """All training images, the last minibatch being what is left."""
        self.shuffle()
        steps, together = len(self.order) // self.flags.batch, self.flags.together
        for first in range(0, steps, together):
            self.block(min(together, steps - first))
        left = len(self.x) - len(self.order)
        if left:
            self.step(self.torch.randperm(len(self.x), device=self.device)[:left]).item()

    def accuracy(self):
        if not hasattr(self, "test"):
            self.test = self.load("t10k")
        self.net.eval()
        low = self.flags.precision == "bf16"
        with self.torch.no_grad(), self.torch.autocast(self.device.type, self.torch.bfloat16, enabled=low):
            right = sum((self.net(x.contiguous(memory_format=self.format)).argmax(1) == y).sum()
                        for x, y in zip(self.test[0].split(2000), self.test[1].split(2000)))  # fmt: skip
        self.net.train()
        return right.item() / len(self.test[0])


def main():
    flags = parse()
    torch = harness.import_torch(flags.device)
    training = Training(torch, flags)
    forms = [flags.precision, "compiled" if flags.compile else "eager"]
    forms += [flags.mode] * (flags.mode != "default") + ["graph"] * flags.graph
    forms += ["channels_last"] * flags.channels_last + ["foreach"] * flags.foreach
    about = {
        "program": "torch",
        "threads": torch.get_num_threads(),
        "precision": flags.precision,
        "banner": " ".join([f"PyTorch {torch.__version__}", *forms]),
        "providers": {"torch cuda" if training.on_gpu else f"torch {torch.backends.cpu.get_cpu_capability()}": 1},
    }
    harness.run(training, flags, **about)


if __name__ == "__main__":
    main()
