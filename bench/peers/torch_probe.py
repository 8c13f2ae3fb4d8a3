#!/usr/bin/env python3
"""Pieces of a training step in PyTorch by themselves, beside what was predicted of an H100 or H200: the optimizer over lists of
tensors, cuDNN's convolutions of the CNN's second layer, cuBLAS' products. A JSON object a line, as cuda_probe prints them.
On a GPU a time is that of a recording of many calls; on the CPU, where --small tries the program out, of a loop."""
import json
import sys
import time

import harness

# name -> the range that was predicted, in microseconds
PREDICTED = {
    "adadelta_foreach": (60, 95),
    "conv2_forward_tf32": (14, 22),
    "conv2_grad_input_tf32": (16, 25),
    "conv2_grad_filter_tf32": (20, 40),
}


def parse():
    parser = harness.Parser(description="Pieces of a training step in PyTorch by themselves.")
    parser.add_argument("--device", default="cuda", help="cpu or cuda[:N]")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the program out")
    return parser.parse_args()


class Probe:
    def __init__(self, torch, flags):
        self.torch, self.small = torch, flags.small
        self.device = torch.device(flags.device)
        self.on_gpu = self.device.type == "cuda"
        torch.backends.cudnn.benchmark = True

    def microseconds(self, call, calls=20):
        """Of one call: the median of nine runs of many."""
        torch = self.torch
        calls = 2 if self.small else calls

        def many():
            for _ in range(calls):
                call()

        if self.on_gpu:
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                call()
                call()
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                many()
            run = graph.replay
        else:
            run = many
        times = []
        for _ in range(10):
            if self.on_gpu:
                torch.cuda.synchronize()
            begin = time.perf_counter()
            run()
            if self.on_gpu:
                torch.cuda.synchronize()
            times.append(1e6 * (time.perf_counter() - begin) / calls)
        return harness.quantile(times[1:], 0.5)

    def report(self, name, value, unit="us", **more):
        line = {"name": name, "value": value, "unit": unit, **more}
        if name in PREDICTED:
            low, high = PREDICTED[name]
            verdict = "hit" if low <= value <= high else "miss" if value < low / 2 or value > 2 * high else "near"
            line.update(low=low, high=high, verdict=verdict)
        print(json.dumps(line), flush=True)

    def allow(self, precision):
        """What products of fp32 may do."""
        self.torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")

    def types(self):
        t = self.torch
        return {"fp32": t.float32, "tf32": t.float32, "bf16": t.bfloat16, "fp16": t.float16}.items()

    def random(self, *shape, dtype=None):
        return self.torch.randn(*shape, device=self.device).to(dtype or self.torch.float32)

    def adadelta(self):
        shapes = [(32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (128, 9216), (128,), (10, 128), (10,)]
        parameters = [self.torch.nn.Parameter(self.random(*shape)) for shape in shapes]
        for p in parameters:
            p.grad = self.random(*p.shape)
        more = {"capturable": True} if self.on_gpu else {}
        optimizer = self.torch.optim.Adadelta(parameters, lr=1.0, rho=0.95, eps=1e-7, foreach=True, **more)
        self.report("adadelta_foreach", self.microseconds(optimizer.step))

    def convolutions(self):
        torch = self.torch
        n = 2 if self.small else 128
        last = torch.channels_last
        for precision, dtype in self.types():
            self.allow(precision)
            x = self.random(n, 32, 26, 26, dtype=dtype).to(memory_format=last)
            w = self.random(64, 32, 3, 3, dtype=dtype).to(memory_format=last)
            b, g = self.random(64, dtype=dtype), self.random(n, 64, 24, 24, dtype=dtype).to(memory_format=last)

            def gradient(which, x=x, w=w, g=g):
                return torch.ops.aten.convolution_backward(g, x, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, which)

            calls = {
                "forward": lambda x=x, w=w: torch.nn.functional.conv2d(x, w),
                "grad_input": lambda gradient=gradient: gradient([True, False, False]),
                "grad_filter": lambda gradient=gradient: gradient([False, True, False]),
                "bias_relu": lambda x=x, w=w, b=b: torch.nn.functional.relu(torch.nn.functional.conv2d(x, w, b)),
            }
            if self.on_gpu:  # one kernel of cuDNN
                calls["bias_relu_fused"] = lambda x=x, w=w, b=b: torch.cudnn_convolution_relu(x, w, b, [1, 1], [0, 0], [1, 1], 1)
            for name, call in calls.items():
                self.attempt(f"conv2_{name}_{precision}", lambda call=call: self.microseconds(call))

    def products(self):
        n = 64 if self.small else 4096
        for precision, dtype in self.types():
            self.allow(precision)
            a, b = self.random(n, n, dtype=dtype), self.random(n, n, dtype=dtype)
            out = self.torch.empty_like(a)
            self.attempt(f"matmul_4096_{precision}", lambda a=a, b=b, out=out: self.microseconds(
                lambda: self.torch.matmul(a, b, out=out), 5), flops=2.0 * n**3)  # fmt: skip

    def attempt(self, name, measure, flops=None):
        """What one piece cannot do keeps nothing from the others."""
        try:
            value = measure()
        except (RuntimeError, NotImplementedError) as error:
            print(json.dumps({"name": name, "refused": str(error).splitlines()[0][:160]}), flush=True)
            return
        self.report(name, value, **({"tflops": flops / value * 1e-6} if flops else {}))


def main():
    flags = parse()
    torch = harness.import_torch(flags.device)
    probe = Probe(torch, flags)
    cudnn = torch.backends.cudnn.version() if probe.on_gpu else None
    print(json.dumps({"name": "torch", "version": torch.__version__, "cudnn": cudnn}), flush=True)
    for piece in (probe.adadelta, probe.convolutions, probe.products):
        piece()


if __name__ == "__main__":
    sys.exit(main())
