#!/usr/bin/env python3
"""Whole training steps of the two MNIST models in JAX alone: the peer of step_bench; with --epochs, of epochs_bench.

Same models, optimizers and batches, written as functions of arrays. --together steps are one compiled function, a
lax.scan over the rows of its minibatches, whose state takes the memory of the one before (donated); --together 468 is an
epoch. Rows come from an order on the device; images are floats there before the clock starts. tf32 is what a GPU does by
default; fp32 asks for the highest precision of products; in bf16 products have operands in bf16 and results in fp32, and
activations between them are bf16. Prints the same JSON object as step_bench --json.
"""
import math
import os
from functools import partial

import harness

PRECISION = {"fp32": "highest", "tf32": "tensorfloat32", "bf16": "default"}


def parse():
    parser = harness.step_parser("Training steps of the MNIST models in JAX.")
    harness.device_flags(parser)
    parser.add_argument("--precision", choices=tuple(PRECISION), default="fp32")
    return harness.parse(parser)


def make_parameters(jax, model, key):
    """(weights, bias) of every layer: Glorot's uniform distribution, and zeros. Filters are (kh, kw, c, k)."""
    shapes = {"cnn": [(3, 3, 1, 32), (3, 3, 32, 64), (9216, 128), (128, 10)], "mlp": [(784, 400), (400, 400), (400, 10)]}
    parameters = []
    for shape in shapes[model]:
        key, own = jax.random.split(key)
        window = math.prod(shape[:-2])
        limit = math.sqrt(6 / (window * shape[-2] + window * shape[-1]))
        parameters.append((jax.random.uniform(own, shape, minval=-limit, maxval=limit), jax.numpy.zeros(shape[-1])))
    return parameters


def make_forward(jax, flags):
    """logits(parameters, images, key): the key is of the dropout, None without it."""
    jnp, lax = jax.numpy, jax.lax
    low = jnp.bfloat16 if flags.precision == "bf16" else jnp.float32

    def conv(x, layer):
        w, b = layer
        form = ("NHWC", "HWIO", "NHWC")
        return jax.nn.relu(lax.conv_general_dilated(x, w.astype(low), (1, 1), "VALID", dimension_numbers=form) + b.astype(low))

    def dense(x, layer):
        w, b = layer
        return x @ w.astype(low) + b.astype(low)

    def dropout(x, rate, key):
        return x if key is None else jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)

    def cnn(p, x, key):
        keys = (None, None) if key is None else jax.random.split(key)
        x = conv(conv(x.astype(low), p[0]), p[1])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = dropout(x, 0.25, keys[0]).reshape(x.shape[0], -1)
        x = dropout(jax.nn.relu(dense(x, p[2])), 0.5, keys[1])
        return dense(x, p[3]).astype(jnp.float32)

    def mlp(p, x, _):
        x = x.astype(low).reshape(x.shape[0], -1)
        x = jax.nn.relu(dense(x, p[0]))
        return dense(jax.nn.relu(dense(x, p[1])), p[2]).astype(jnp.float32)

    return cnn if flags.model == "cnn" else mlp


def adadelta(jax, p, g, slots, rho=0.95, epsilon=1e-7):
    a, d = slots
    a = rho * a + (1 - rho) * g * g
    step = jax.numpy.sqrt((d + epsilon) / (a + epsilon)) * g
    return p - step, (a, rho * d + (1 - rho) * step * step)


class Training:
    """block(n) makes n steps of full minibatches, on and on over the data."""

    def __init__(self, jax, flags):
        self.jax, self.flags = jax, flags
        self.x, self.y = self.load("train")
        self.forward = make_forward(jax, flags)
        self.in_order = len(self.x) // flags.batch * flags.batch
        self.many = jax.jit(self.scan, donate_argnums=0)
        self.right = jax.jit(lambda p, x, y: (self.forward(p, x, None).argmax(1) == y).sum())
        self.permutation = jax.jit(partial(jax.random.permutation, x=len(self.x)))
        self.reset(flags.seed)

    def load(self, part):
        images = (harness.read(self.flags.data_folder, "images", part) / 255.0).astype("float32")[..., None]
        return self.jax.device_put(images), self.jax.device_put(harness.read(self.flags.data_folder, "labels", part).astype("int32"))

    def reset(self, seed):
        jax = self.jax
        self.key, own = jax.random.split(jax.random.key(seed))
        parameters = make_parameters(jax, self.flags.model, own)
        zeros = jax.tree.map(jax.numpy.zeros_like, parameters)
        copy = jax.tree.map(jax.numpy.copy, zeros)
        self.state = (parameters, (zeros, copy) if self.flags.model == "cnn" else (), jax.random.key(seed + 1))
        self.shuffle()

    def shuffle(self):
        self.key, own = self.jax.random.split(self.key)
        self.order, self.at = self.permutation(own), 0

    def step(self, x, y, state, rows):
        jax = self.jax
        parameters, slots, key = state
        key, own = jax.random.split(key)

        def loss_of(p):
            logits = self.forward(p, x[rows], own)
            chosen = jax.numpy.take_along_axis(jax.nn.log_softmax(logits), y[rows][:, None], 1)
            return -chosen.mean()

        loss, gradients = jax.value_and_grad(loss_of)(parameters)
        if self.flags.model == "mlp":
            return (jax.tree.map(lambda p, g: p - 0.2 * g, parameters, gradients), slots, key), loss
        flat = [jax.tree.leaves(t) for t in (parameters, gradients, *slots)]
        new = [adadelta(jax, p, g, (a, d)) for p, g, a, d in zip(*flat)]
        tree = jax.tree.structure(parameters)
        columns = ([p for p, _ in new], [s[0] for _, s in new], [s[1] for _, s in new])
        parameters, *slots = (jax.tree.unflatten(tree, column) for column in columns)
        return (parameters, tuple(slots), key), loss

    def scan(self, state, x, y, rows):
        """rows (steps, batch) -> losses (steps)"""
        return self.jax.lax.scan(partial(self.step, x, y), state, rows)

    def make(self, rows):
        self.state, losses = self.many(self.state, self.x, self.y, rows)
        return losses.tolist()  # waits

    def block(self, count):
        size = self.flags.batch
        if self.at + count * size > self.in_order:
            self.shuffle()
        count = min(count, self.in_order // size)
        rows = self.order[self.at : self.at + count * size].reshape(count, size)
        self.at += count * size
        return self.make(rows)

    def epoch(self):
        self.shuffle()
        steps, together = self.in_order // self.flags.batch, self.flags.together
        for first in range(0, steps, together):
            self.block(min(together, steps - first))
        if self.in_order < len(self.x):
            self.make(self.order[None, self.in_order :])

    def accuracy(self):
        if not hasattr(self, "test"):
            self.test = self.load("t10k")
        x, y = self.test
        right = sum(self.right(self.state[0], x[i : i + 2000], y[i : i + 2000]) for i in range(0, len(x), 2000))
        return float(right) / len(x)


def main():
    flags = parse()
    if flags.device == "cpu":
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if flags.threads:
            # XLA takes as many threads as the process has processors; there is no flag for it.
            os.sched_setaffinity(0, harness.one_cpu_a_core()[: flags.threads])
    else:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # it is not alone on the GPU
    try:
        import jax
    except ImportError as error:
        harness.fail(f"expects a Python with JAX and NumPy, found: {error}", 1)
    platform = jax.default_backend()
    if (platform == "cpu") != (flags.device == "cpu"):
        harness.fail(f"JAX {jax.__version__} runs on {platform}, asked for {flags.device}", 8)
    jax.config.update("jax_default_matmul_precision", PRECISION[flags.precision])
    about = {
        "program": "jax",
        "threads": flags.threads or len(os.sched_getaffinity(0)),
        "precision": flags.precision,
        "banner": f"JAX {jax.__version__} {flags.precision} scan of {flags.together}",
        "providers": {f"jax {platform}": 1},
    }
    training = Training(jax, flags)
    harness.run(training, flags, **about)


if __name__ == "__main__":
    main()
