#!/usr/bin/env python3
"""The benchmark programs on a CUDA device, in CI the emulated one: steps on data that stays on the device are those from the host and
those of the CPU, and a benchmark's figures are of one call.

Usage: bench_on_device_test.py BIN_FOLDER. TENON_MODULE_PATH names the module. Makes its own data; no network.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.argv[1])
FAILURES = []


def check(what, holds):
    if not holds:
        FAILURES.append(what)


def write_data(folder, count=40):
    pixels = bytes((i * 31 + y * x * (i % 10 + 1)) % 251 for i in range(count) for y in range(28) for x in range(28))
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, count, 28, 28) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + bytes(i % 10 for i in range(count)))


def run(program, *flags):
    return subprocess.run([BIN / program, *map(str, flags)], capture_output=True, text=True, timeout=900, check=False,
                          env={**os.environ, "TENON_OFFLINE": "1"})  # fmt: skip


def output(what, done):
    """The JSON object that a program printed."""
    check(f"{what}: {done.stderr}", done.returncode == 0)
    return json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else {}


def steps(data):
    common = ("--model", "mlp", "--data-folder", data, "--batch", 8, "--json", "--seed", 3)
    resident = output("resident steps", run("step_bench", *common, "--device", "cuda", "--steps", 3, "--warmup", 1, "--together", 2))
    # Rounded up to whole recordings: two of warm-up, two that are timed; over more than one sweep of the 40 images.
    check(f"steps and warm-up: {resident}", (resident["steps"], resident["warmup"], resident["together"]) == (4, 4, 2))
    for feed, device in (("host", "cuda"), ("auto", "cpu")):
        fed = output(f"{feed} {device}", run("step_bench", *common, "--device", device, "--feed", feed, "--steps", 4, "--warmup", 4))
        check(f"one by one on {device}", fed["together"] == 1)
        check(f"losses of {feed} on {device}", (fed["loss_first"], fed["loss_last"]) == (resident["loss_first"], resident["loss_last"]))
    done = run("step_bench", *common, "--device", "cpu", "--feed", "device")
    check(f"the CPU keeps no data: {done.stderr}", done.returncode == 2 and "[--feed] cpu cannot keep the data" in done.stderr)
    low = output("fp16", run("step_bench", *common, "--device", "cuda", "--steps", 1, "--warmup", 1, "--together", 1, "--precision", "fp16"))
    check(f"fp16: {low}", "fp16, loss x 1024" in low["banner"] and abs(low["loss_first"] - resident["loss_first"]) < 0.01)


def trainings(data):
    common = ("--model", "mlp", "--data-folder", data, "--batch", 20, "--epochs", 2, "--warmup", 2, "--target", 0.01)
    found = [output(device, run("epochs_bench", *common, "--device", device)) for device in ("cuda", "cpu")]
    check(f"the same training: {found}", found[0]["accuracies"] == found[1]["accuracies"] and len(found[0]["accuracies"]) == 2)
    for f in found:
        check(f"times: {f}", 0 < f["training_s"] < f["with_evaluation_s"] and f["to_target_s"] <= f["with_evaluation_s"])


def kernels():
    flags = ("--device", "cuda", "--cases", "--filter", "^sgd_update/", "--json", "--benchmark_min_time=0.05")
    benchmarks = output("kernels", one_line(run("kernels_bench", *flags)))["benchmarks"]
    check(f"rows: {benchmarks}", len(benchmarks) > 0)
    for b in benchmarks:
        # Recordings of at least 20 calls, each of which counts: the clock on the wall has run for all of them.
        check(f"calls: {b}", b["iterations"] >= 20 and b["iterations"] * b["real_time"] * 1e-6 > 0.04)
    both = output("both", run("kernels_bench", "--compare", "cpu,cuda", "--cases", "--filter", "^sgd_update/", "--json", "--rounds", 1))
    threads = [both["rows"][0]["results"][name]["threads"] for name in ("cpu", "cuda")]
    alone = output("cpu", run("kernels_bench", "--compare", "cpu", "--cases", "--filter", "^sgd_update/", "--json", "--rounds", 1))
    check(f"threads of each device: {threads}", threads == [alone["threads"], 1])
    cold = output("cold", run("kernels_bench", "--compare", "cpu", "--cold", "--filter", "^(bias_add/1M|check_finite)", "--json", "--rounds", 1))
    cells = {r["name"]: r["results"]["cpu"] for r in cold["rows"]}
    check(f"cold where it can be: {cells}", "cold_median_ms" in cells["bias_add/1M"] and "cold_median_ms" not in cells["check_finite/scalar"])


def one_line(done):
    """Google Benchmark's JSON has many lines."""
    if done.returncode == 0:
        done.stdout = json.dumps(json.loads(done.stdout))
    return done


def main():
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        for part in (lambda: steps(folder), lambda: trainings(folder), kernels):
            try:
                part()
            except (KeyError, IndexError, ValueError) as error:
                FAILURES.append(f"unexpected output: {error!r}")
    for failure in FAILURES:
        print(f"bench_on_device_test: {failure}", file=sys.stderr)
    sys.exit(1 if FAILURES else 0)


if __name__ == "__main__":
    main()
