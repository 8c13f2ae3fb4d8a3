"""What the peers' programs share: flags, one-line errors, MNIST from its idx files, the object they print."""
import argparse
import gzip
import json
import os
import sys
import time
from pathlib import Path

from turn import Turn

BATCH = {"cnn": 128, "mlp": 64}
SHAPES = {"images": (60000, 28, 28), "labels": (60000,)}
TEST_SHAPES = {"images": (10000, 28, 28), "labels": (10000,)}


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


def device_flags(parser):
    """Of peers that run on a GPU, too."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N]")
    parser.add_argument("--together", type=int, default=0, help="steps between two readings of their losses; 0: 1, on cuda 32")
    parser.add_argument("--serve", action="store_true",
        help="after the warm-up, print a line; then, for each number read, so many steps and the JSON object")  # fmt: skip
    parser.add_argument("--lock", help="a file: who warms up holds it, since libraries choose by time then")
    parser.add_argument("--epochs", type=int, default=0, help="instead of steps: so many epochs, with evaluation after each")
    parser.add_argument("--seeds", type=int, default=1, help="with --epochs: trainings, with seeds from --seed on")
    parser.add_argument("--target", type=float, default=0.99, help="with --epochs: accuracy whose time is taken")


def parse(parser):
    parser.set_defaults(lock=None, together=1, serve=False, epochs=0, device="cpu")
    flags = parser.parse_args()
    flags.together = flags.together or (1 if flags.device == "cpu" else 32)
    if flags.steps < 1 or flags.together < 1 or min(flags.warmup, flags.batch, flags.threads) < 0:
        fail("expects at least one step, and no negative number", 2)
    flags.batch = flags.batch or BATCH[flags.model]
    return flags


def find(folder, kind, part="train"):
    """The file of the images or labels; None where it is missing."""
    stem = f"{part}-{kind}-idx{len(SHAPES[kind])}-ubyte"
    for base in (Path(folder), Path(folder) / "mnist"):
        for name in (stem, f"{stem}.gz", f"{part}-{kind}.gz"):
            if (base / name).is_file():
                return base / name
    return None


def read(folder, kind, part="train"):
    """Bytes of the images or labels, for training or the test ("t10k"), without the header."""
    import numpy as np

    shape = (SHAPES if part == "train" else TEST_SHAPES)[kind]
    path = find(folder, kind, part)
    if path is None:
        fail(f"expected MNIST's {part}-{kind}-idx{len(shape)}-ubyte[.gz] in {folder} or its subfolder mnist", 3)
    try:
        raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, ValueError) as error:
        return fail(f"expected {' x '.join(map(str, shape))} bytes in {path}, found: {error}", 3)


def orders(size, seed):
    """Rows of minibatches without end, each of full size; a new order for every sweep."""
    import numpy as np

    random = np.random.default_rng(seed)
    count = SHAPES["labels"][0]
    while True:
        order = random.permutation(count).astype(np.int32)
        for first in range(0, count - size + 1, size):
            yield order[first : first + size]


def run_steps(block, count, together):
    """block(n) makes n steps and gives their losses. Milliseconds of a step, block by block, and all losses."""
    times, losses = [], []
    for _ in range(-(-count // together)):
        begin = time.perf_counter()
        losses += block(together)
        times.append(1e3 * (time.perf_counter() - begin) / together)
    return times, losses


def timed(step, flags):
    """Milliseconds of every step after the warm-up, and the losses of all, of a step that gives its loss."""

    def block(count):
        return [step() for _ in range(count)]

    _, warm = run_steps(block, flags.warmup, 1)
    times, losses = run_steps(block, flags.steps, 1)
    return times, warm + losses


def measure(block, flags, **about):
    """Warm-up and report; or the server of --serve, for contenders that take turns without starting anew."""
    flags.warmup = max(flags.warmup, 2 * flags.together)
    with Turn(flags.lock):
        _, warm = run_steps(block, flags.warmup, flags.together)
    if not flags.serve:
        times, losses = run_steps(block, flags.steps, flags.together)
        report(flags, times, loss_first=warm[0], loss_last=losses[-1], **about)
        return
    print(json.dumps({"ready": about["banner"]}), flush=True)
    for line in sys.stdin:
        times, losses = run_steps(block, int(line), flags.together)
        print(json.dumps(result_of(flags, times, loss_first=warm[0], loss_last=losses[-1], **about)), flush=True)


def train(train_epoch, accuracy, reset, flags, **about):
    """The trainings of --epochs, a JSON object each. The clock of training_s stands still during evaluations, that of
    to_target_s does not; what has to be compiled or recorded is, before, in an epoch that does not count."""
    reset(flags.seed)
    train_epoch()
    accuracy()
    for seed in range(flags.seed, flags.seed + flags.seeds):
        reset(seed)
        training, reached, found = 0.0, {}, []
        begin = time.perf_counter()
        for epoch in range(flags.epochs):
            epoch_begin = time.perf_counter()
            train_epoch()
            training += time.perf_counter() - epoch_begin
            found.append(accuracy())
            if found[-1] >= flags.target and not reached:
                reached = {"to_target_s": time.perf_counter() - begin, "target_epochs": epoch + 1}
        result = {"model": flags.model, "batch": flags.batch, "seed": seed, "epochs": flags.epochs, "training_s": training,
                  "with_evaluation_s": time.perf_counter() - begin, "accuracy": found[-1], "accuracies": found,
                  "target": flags.target, **reached, "device": flags.device, **about}  # fmt: skip
        print(json.dumps(result), flush=True)


def run(training, flags, **about):
    """What the flags ask for: steps, or the trainings of --epochs."""
    if flags.epochs:
        train(training.epoch, training.accuracy, training.reset, flags, **about)
    else:
        measure(training.block, flags, **about)


def import_torch(device):
    """PyTorch, where it is there and has the device."""
    try:
        import torch
    except ImportError as error:
        fail(f"expects a Python with PyTorch and NumPy, found: {error}", 1)
    if device != "cpu" and not torch.cuda.is_available():
        fail(f"PyTorch {torch.__version__} finds no GPU", 8)
    return torch


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


def result_of(flags, times, **more):
    """The object that step_bench --json prints. `more` has program, threads, precision and banner."""
    median = quantile(times, 0.5)
    preload = os.path.basename(os.environ.get("LD_PRELOAD", ""))
    if preload:
        more["banner"] += f" {preload}"
    return {
        "program": more.pop("program"),
        "model": flags.model,
        "batch": flags.batch,
        "steps": flags.steps,
        "warmup": flags.warmup,
        "together": flags.together,
        "median_ms": median,
        "min_ms": min(times),
        "spread": quantile(times, 0.9) - quantile(times, 0.1),
        "images_per_s": 1e3 * flags.batch / median,
        "device": flags.device,
        **more,
        "data": flags.data_folder,
    }


def report(flags, times, **more):
    """That object, or a line in words."""
    result = result_of(flags, times, **more)
    if flags.json:
        print(json.dumps(result))
        return
    print(result["banner"])
    losses = f"; loss {more['loss_first']:.4f} to {more['loss_last']:.4f}" if "loss_first" in more else ""
    print(
        f"{flags.model} batch {flags.batch}: median {result['median_ms']:.4f} ms, min {min(times):.4f}, spread (p90-p10) "
        f"{result['spread']:.4f}, {result['images_per_s']:.0f} images/s, {flags.steps} steps{losses}"
    )
