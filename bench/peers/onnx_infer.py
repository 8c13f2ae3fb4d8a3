#!/usr/bin/env python3
"""Prediction with the MNIST models in ONNX Runtime: the peer of infer_bench.

The network is written down with the package onnx, with random weights, which cost as much as trained ones. The clock
runs from before a minibatch is indexed until the outputs are there. Prints the same JSON object as infer_bench --json.
"""
import harness


def parse():
    parser = harness.step_parser("Prediction with the MNIST models in ONNX Runtime.")
    return harness.parse(parser)


class Graph:
    """Nodes and weights in the order in which they are added; each node reads the one before."""

    def __init__(self, np, seed):
        from onnx import helper, numpy_helper

        self.np, self.helper, self.to_tensor = np, helper, numpy_helper.from_array
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.last = [], [], "x"

    def add(self, op, *shapes, **attributes):
        name = f"{op.lower()}{len(self.nodes)}"
        inputs = [self.last]
        for i, shape in enumerate(shapes):
            # Glorot's bounds for weights, nothing for biases.
            fan = shape[0] * shape[1] if len(shape) == 2 else 1
            bound = 0 if len(shape) == 1 else (6 / (sum(shape[:2]) * max(1, self.np.prod(shape) // fan))) ** 0.5
            inputs.append(f"{name}_{i}")
            values = self.random.uniform(-bound, bound, shape).astype("float32")
            self.weights.append(self.to_tensor(values, inputs[-1]))
        self.nodes.append(self.helper.make_node(op, inputs, [name], **attributes))
        self.last = name
        return self


def make_model(np, flags):
    """Bytes of an ONNX file. Dropout is left out, as every exporter does for prediction."""
    from onnx import TensorProto, helper

    g = Graph(np, flags.seed)
    if flags.model == "cnn":
        g.add("Conv", (32, 1, 3, 3), (32,), kernel_shape=[3, 3]).add("Relu")
        g.add("Conv", (64, 32, 3, 3), (64,), kernel_shape=[3, 3]).add("Relu")
        g.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).add("Flatten")
        g.add("Gemm", (9216, 128), (128,)).add("Relu")
        g.add("Gemm", (128, 10), (10,)).add("Softmax", axis=1)
    else:
        g.add("Flatten").add("Gemm", (784, 400), (400,)).add("Relu")
        g.add("Gemm", (400, 400), (400,)).add("Relu").add("Gemm", (400, 10), (10,))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [flags.batch, 1, 28, 28])
    y = helper.make_tensor_value_info(g.last, TensorProto.FLOAT, [flags.batch, 10])
    graph = helper.make_graph(g.nodes, flags.model, [x], [y], g.weights)
    # Versions that runtimes of some years ago read, too.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def main():
    flags = parse()
    try:
        import numpy as np
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        harness.fail(f"expects a Python with onnx, ONNX Runtime and NumPy, found: {error}", 1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = flags.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(make_model(np, flags), options, providers=["CPUExecutionProvider"])
    images = (harness.read(flags.data_folder, "images") / 255.0).astype("float32")[:, None]
    rows = harness.orders(flags.batch, flags.seed)

    def step():
        return float(session.run(None, {"x": images[next(rows)]})[0][0, 0])

    times, outputs = harness.timed(step, flags)
    if not np.isfinite(outputs).all():
        harness.fail("expected finite outputs, found others", 6)
    harness.report(
        flags, times,
        program="onnxruntime",
        mode="infer",
        threads=flags.threads or harness.os.cpu_count(),
        precision="fp32",
        banner=f"ONNX Runtime {onnxruntime.__version__} fp32",
        providers={"CPUExecutionProvider": 1},
    )  # fmt: skip


if __name__ == "__main__":
    main()
