"""What the peers' programs share: flags, one-line errors, MNIST from its idx files, the object they print."""
import argparse
import gzip
import json
import os
import sys
import time
from pathlib import Path

BATCH = {"cnn": 128, "mlp": 64}
SHAPES = {"images": (60000, 28, 28), "labels": (60000,)}


def fail(message, code):
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        fail(message, 2)


def step_parser(description):
    parser = Parser(description=description)
    parser.add_argument("--model", choices=tuple(BATCH), default="cnn")
    parser.add_argument("--data-folder", required=True, help="folder with MNIST's four files, or whose subfolder mnist has them")
    parser.add_argument("--batch", type=int, default=0, help="0 for the model's: 128 (cnn), 64 (mlp)")
    parser.add_argument("--threads", type=int, default=0, help="0 for the peer's choice")
    parser.add_argument("--steps", type=int, default=100, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=100, help="steps of training before them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def parse(parser):
    flags = parser.parse_args()
    if flags.steps < 1 or min(flags.warmup, flags.batch, flags.threads) < 0:
        fail("expects at least one step, and no negative number", 2)
    flags.batch = flags.batch or BATCH[flags.model]
    return flags


def find(folder, kind):
    """The file of the training images or labels; None where it is missing."""
    stem = f"train-{kind}-idx{len(SHAPES[kind])}-ubyte"
    for base in (Path(folder), Path(folder) / "mnist"):
        for name in (stem, f"{stem}.gz", f"train-{kind}.gz"):
            if (base / name).is_file():
                return base / name
    return None


def read(folder, kind):
    """Bytes of the training images or labels, without the header."""
    import numpy as np

    path = find(folder, kind)
    if path is None:
        fail(f"expected MNIST's train-{kind}-idx{len(SHAPES[kind])}-ubyte[.gz] in {folder} or its subfolder mnist", 3)
    try:
        raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(SHAPES[kind])).reshape(SHAPES[kind])
    except (OSError, EOFError, ValueError) as error:
        return fail(f"expected {' x '.join(map(str, SHAPES[kind]))} bytes in {path}, found: {error}", 3)


def orders(size, seed):
    """Rows of minibatches without end, each of full size; a new order for every sweep."""
    import numpy as np

    random = np.random.default_rng(seed)
    count = SHAPES["labels"][0]
    while True:
        order = random.permutation(count).astype(np.int32)
        for first in range(0, count - size + 1, size):
            yield order[first : first + size]


def timed(step, flags):
    """Milliseconds of every step after the warm-up, and the losses of all."""
    times, losses = [], []
    for _ in range(flags.warmup + flags.steps):
        begin = time.perf_counter()
        losses.append(step())
        times.append(1e3 * (time.perf_counter() - begin))
    return times[flags.warmup :], losses


def one_cpu_a_core():
    """The processors that this process may use, those of different cores first."""
    allowed = sorted(os.sched_getaffinity(0))
    first, further = [], []
    seen = set()
    for cpu in allowed:
        try:
            core = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            core = str(cpu)
        (further if core in seen else first).append(cpu)
        seen.add(core)
    return first + further


def quantile(samples, q):
    samples = sorted(samples)
    at = q * (len(samples) - 1)
    low = int(at)
    high = min(low + 1, len(samples) - 1)
    return samples[low] + (at - low) * (samples[high] - samples[low])


def report(flags, times, **more):
    """The object that step_bench --json prints, or a line in words. `more` has program, threads, precision and banner."""
    median = quantile(times, 0.5)
    preload = os.path.basename(os.environ.get("LD_PRELOAD", ""))
    if preload:
        more["banner"] += f" {preload}"
    result = {
        "program": more.pop("program"),
        "model": flags.model,
        "batch": flags.batch,
        "steps": flags.steps,
        "warmup": flags.warmup,
        "median_ms": median,
        "min_ms": min(times),
        "spread": quantile(times, 0.9) - quantile(times, 0.1),
        "images_per_s": 1e3 * flags.batch / median,
        "device": "cpu",
        **more,
        "data": flags.data_folder,
    }
    if flags.json:
        print(json.dumps(result))
        return
    print(result["banner"])
    losses = f"; loss {more['loss_first']:.4f} to {more['loss_last']:.4f}" if "loss_first" in more else ""
    print(
        f"{flags.model} batch {flags.batch}: median {median:.3f} ms, min {min(times):.3f}, spread (p90-p10) "
        f"{result['spread']:.3f}, {result['images_per_s']:.0f} images/s, {flags.steps} steps{losses}"
    )
