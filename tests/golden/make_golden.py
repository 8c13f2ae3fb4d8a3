"""Makes mlp.safetensors and cnn.safetensors: gradients of one training step and the parameters after three, of the two MNIST
models, computed by PyTorch in float64 and in float32 on the CPU. tests/golden_test.cpp runs the same steps in Tenon.

    python3 tests/golden/make_golden.py        # needs numpy and torch; about a minute; run by hand

Weights, images, labels and sampled coordinates come from a formula, so that the files hold results only (golden.hpp is the
same formula in C++). Every number is a word of Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011):

    word(purpose; element, site, step) = philox(key = (seed, purpose), counter = (element // 4, site, step, 0))[element % 4]

    weight i of tensor t    ((word(genr; i, t, 0) >> 8) % (2 r + 1) - r) / 2^p                      exact in float32
    pixel (n, y, x)         v = word(genr; i, 100, step) >> 8; 0 where v % 10 > 2 or outside the middle 20 x 20,
                            else (1 + v // 16 % 15) / 16
    label n                 (word(genr; n, 101, step) >> 8) % 10
    sampled coordinate j    (word(genr; j, 200 + t, 0) >> 8) % size; all of them in order where there are few
    dropout                 kept where draw(drop; i, site, step) >= rate 2^16, i in NHWC order; a draw is half a word: of eight
                            neighbours four have the lower halves of a block's words, the next four the upper ones

Products of pixels and weights are multiples of 2^-18 and small, so both convolutions of the first step are exact in float32
and float64 alike: no pooled window is decided by rounding. For the later steps the script prints how close the nearest
decisions were.
"""

import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

SEED = 20240521
GENERATOR, DROPOUT = 0x67656E72, 0x64726F70
STEPS = 3
WEIGHT, PIXEL, LABEL, SAMPLE = 0, 100, 101, 200  # sites

# name, shape, r, p
MLP = [
    ("h1.kernel", (784, 400), 9, 7), ("h1.bias", (400,), 4, 6),
    ("h2.kernel", (400, 400), 11, 7), ("h2.bias", (400,), 4, 6),
    ("out.kernel", (400, 10), 15, 7), ("out.bias", (10,), 4, 6),
]
CNN = [
    ("c1.kernel", (3, 3, 1, 32), 9, 6), ("c1.bias", (32,), 4, 6),
    ("c2.kernel", (3, 3, 32, 64), 10, 7), ("c2.bias", (64,), 4, 6),
    ("d1.kernel", (9216, 128), 13, 9), ("d1.bias", (128,), 4, 6),
    ("out.kernel", (128, 10), 13, 6), ("out.bias", (10,), 4, 6),
]


def words(purpose, site, step, count):
    """The words of elements 0 to count - 1."""
    blocks = (count + 3) // 4
    mask = np.uint64(0xFFFFFFFF)
    c = [np.arange(blocks, dtype=np.uint64), np.full(blocks, site, np.uint64),
         np.full(blocks, step, np.uint64), np.zeros(blocks, np.uint64)]
    k0, k1 = SEED & 0xFFFFFFFF, (SEED >> 32) ^ purpose
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & mask,
             (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & mask]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack(c, axis=1).reshape(-1)[:count].astype(np.int64)


def weight(number, shape, r, p):
    w = words(GENERATOR, WEIGHT + number, 0, int(np.prod(shape))) >> 8
    return ((w % (2 * r + 1) - r) / 2.0**p).reshape(shape)


def images(step, n):
    v = (words(GENERATOR, PIXEL, step, n * 784) >> 8).reshape(n, 28, 28)
    x = np.where(v % 10 > 2, 0, (1 + v // 16 % 15) / 16.0)
    inside = np.zeros((28, 28))
    inside[4:24, 4:24] = 1
    return x * inside


def labels(step, n):
    return (words(GENERATOR, LABEL, step, n) >> 8) % 10


def coordinates(number, size, most):
    if size <= most:
        return np.arange(size)
    return (words(GENERATOR, SAMPLE + number, 0, most) >> 8) % size


def keep(site, step, rate, shape):
    count = int(np.prod(shape))
    i = np.arange(count)
    w = words(DROPOUT, site, step, (count + 7) // 8 * 4)[i // 8 * 4 + i % 4]
    draws = np.where(i % 8 < 4, w & 0xFFFF, w >> 16)
    return (draws >= round(np.float32(rate).astype(np.float64) * 2**16)).reshape(shape)


class Closest:
    """How close a decision was: a gate at 0, or the two largest of a pooled window."""

    def __init__(self):
        self.gap = np.inf

    def gate(self, z):
        z = z.detach().abs()
        self.gap = min(self.gap, float(z[z > 0].min()))

    def window(self, z):
        n, c, h, w = z.shape
        top = z.detach().reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 2, 4, 3, 5).reshape(-1, 4).topk(2).values
        gap = top[:, 0] - top[:, 1]
        self.gap = min(self.gap, float(gap[gap > 0].min()))


def mlp_logits(p, x, step, closest):
    z = x.reshape(x.shape[0], 784) @ p["h1.kernel"] + p["h1.bias"]
    closest.gate(z)
    z = torch.relu(z) @ p["h2.kernel"] + p["h2.bias"]
    closest.gate(z)
    return torch.relu(z) @ p["out.kernel"] + p["out.bias"]


def dropped(x, site, step, rate):
    mask = torch.from_numpy(keep(site, step, rate, tuple(x.shape))).to(x.dtype)
    return x * mask * (1 / (1 - rate))


def cnn_logits(p, x, step, closest):
    # PyTorch wants (n,c,h,w) and (k,c,kh,kw).
    z = F.conv2d(x[:, None], p["c1.kernel"].permute(3, 2, 0, 1), p["c1.bias"])
    closest.gate(z)
    z = torch.relu(F.conv2d(torch.relu(z), p["c2.kernel"].permute(3, 2, 0, 1), p["c2.bias"]))
    closest.window(z)
    z = F.max_pool2d(z, 2).permute(0, 2, 3, 1)
    z = dropped(z, 0, step, 0.25).reshape(x.shape[0], 9216) @ p["d1.kernel"] + p["d1.bias"]
    closest.gate(z)
    return dropped(torch.relu(z), 1, step, 0.5) @ p["out.kernel"] + p["out.bias"]


def train(tensors, logits, batch, optimizer, dtype):
    """Losses, gradients of the first step and parameters after the last, in float64."""
    parameters = {name: torch.tensor(weight(t, shape, r, p), dtype=dtype, requires_grad=True)
                  for t, (name, shape, r, p) in enumerate(tensors)}
    rule = optimizer(parameters.values())
    losses, gradients = [], None
    for step in range(STEPS):
        closest = Closest()
        x = torch.tensor(images(step, batch), dtype=dtype)
        loss = F.cross_entropy(logits(parameters, x, step, closest), torch.tensor(labels(step, batch)))
        rule.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            gradients = {n: p.grad.detach().double().numpy().copy() for n, p in parameters.items()}
        rule.step()
        print(f"  {dtype} step {step}: loss {losses[-1]:.9f}, closest decision {closest.gap:.2e}")
    return losses, gradients, {n: p.detach().double().numpy() for n, p in parameters.items()}


def save(path, tensors):
    """Plain safetensors."""
    header, payload = {"__metadata__": {"made_with": "torch " + torch.__version__}}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array, dtype="<f8").tobytes()
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [len(payload), len(payload) + len(raw)]}
        payload += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)
    print(f"  {path.name}: {path.stat().st_size} bytes")


def make(name, tensors, logits, batch, optimizer, most):
    print(name)
    out = {}
    for bits, dtype in ((64, torch.float64), (32, torch.float32)):
        losses, gradients, parameters = train(tensors, logits, batch, optimizer, dtype)
        out[f"loss{bits}"] = np.array(losses)
        for kind, arrays in (("gradient", gradients), ("parameter", parameters)):
            out[f"{kind}{bits}.norms"] = np.array([np.linalg.norm(arrays[n].ravel()) for n, *_ in tensors])
            for t, (n, shape, *_) in enumerate(tensors):
                out[f"{kind}{bits}.{n}"] = arrays[n].ravel()[coordinates(t, int(np.prod(shape)), most)]
    save(pathlib.Path(__file__).with_name(f"{name}.safetensors"), out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    single = lambda x: float(np.float32(x))  # Tenon's attributes are float
    make("mlp", MLP, mlp_logits, 64, lambda p: torch.optim.SGD(p, lr=single(0.2)), 1096)
    make("cnn", CNN, cnn_logits, 32, lambda p: torch.optim.Adadelta(p, lr=1.0, rho=single(0.95), eps=single(1e-7)), 1192)
