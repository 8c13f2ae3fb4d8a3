#!/usr/bin/env python3
"""The example programs as a user meets them: exit codes and messages on bad input, and a whole small run.

Usage: programs_test.py BIN_FOLDER. Makes its own data in a temporary folder; no network.
"""
import gzip
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.argv[1])
FAILURES = []


def images(count, seed, side=28):
    """Ten clearly different patterns with a little noise, so that a short training learns something."""
    state = seed
    out = bytearray()
    for i in range(count):
        for y in range(side):
            for x in range(side):
                state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
                lit = (x * 10 // side + y * (i % 10) // 3) % 10 == i % 10
                out.append(min(255, (200 if lit else 0) + (state >> 28)))
    return struct.pack(">IIII", 0x803, count, side, side) + bytes(out)


def labels(count, last=None):
    values = [i % 10 for i in range(count)]
    if last is not None:
        values[-1] = last
    return struct.pack(">II", 0x801, count) + bytes(values)


def write_set(folder, train=640, test=9728 // 16, **broken):
    """The four files; `broken` replaces the content of one by name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "train-images-idx3-ubyte.gz": gzip.compress(images(train, 1), 1),
        "train-labels-idx1-ubyte.gz": gzip.compress(labels(train), 1),
        "t10k-images-idx3-ubyte.gz": gzip.compress(images(test, 2), 1),
        "t10k-labels-idx1-ubyte.gz": gzip.compress(labels(test), 1),
    }
    names = {"train_images": "train-images-idx3-ubyte.gz", "train_labels": "train-labels-idx1-ubyte.gz"}
    for key, content in broken.items():
        files[names[key]] = content
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def run(program, *flags, env=None):
    return subprocess.run([BIN / program, *map(str, flags)], capture_output=True, text=True, timeout=600,
                          env={**os.environ, "TENON_OFFLINE": "1", **(env or {})})


def expect(what, result, code, message=None):
    lines = result.stderr.strip().splitlines()
    ok = result.returncode == code and (message is None or re.search(message, result.stderr)) and \
        (code == 0 or 1 <= len(lines) <= 3)
    print(f"{'ok  ' if ok else 'FAIL'} {what}: status {result.returncode}: {' | '.join(lines)[:150]}")
    if not ok:
        FAILURES.append(what)
        print(result.stdout[-2000:], result.stderr[-2000:])


def check(what, condition):
    print(f"{'ok  ' if condition else 'FAIL'} {what}")
    if not condition:
        FAILURES.append(what)


def bad_input(root, good):
    whole = gzip.compress(images(640, 1), 1)
    sets = {
        "wrong magic": dict(train_images=gzip.compress(b"\0\0\x08\x04" + images(640, 1)[4:], 1)),
        "truncated gzip": dict(train_images=whole[: len(whole) // 2]),
        "label 10": dict(train_labels=gzip.compress(labels(640, last=10), 1)),
        "mismatched counts": dict(train_labels=gzip.compress(labels(639), 1)),
    }
    for program in ("mnist_cnn", "mnist_mlp"):
        out = ("--outputs", root / "out")
        expect(f"{program}: missing folder", run(program, "--data-folder", root / "nowhere", *out), 3, "nowhere")
        for name, broken in sets.items():
            folder = write_set(root / name.replace(" ", "_"), **broken)
            expect(f"{program}: {name}", run(program, "--data-folder", folder, *out), 3, "train-(images|labels)")
        data = ("--data-folder", good)
        expect(f"{program}: --batch-size 0", run(program, *data, *out, "--batch-size", 0), 2, "batch-size")
        expect(f"{program}: unknown flag", run(program, *data, *out, "--bogus"), 2, "bogus")
        expect(f"{program}: unknown provider", run(program, *data, *out, "--provider", "cpu.mystery"), 2, "cpu.mystery")
        expect(f"{program}: a precision that the CPU has not", run(program, *data, *out, "--device", "cpu", "--precision",
                                                                              "fp16"), 2, "fp16 runs on CUDA")
        expect(f"{program}: unknown precision", run(program, *data, *out, "--precision", "fp8"), 2, "fp32, tf32, bf16 or fp16")
        expect(f"{program}: unwritable outputs", run(program, *data, "--outputs", "/proc/none"), 5, "/proc/none")
        expect(f"{program}: no CUDA", run(program, *data, *out, "--device", "cuda"), 8, "cuda")
        expect(f"{program}: unknown instruction set", run(program, *data, *out, env={"TENON_ISA": "mmx"}), 2, "mmx")
        junk = root / "junk.safetensors"
        junk.write_bytes(b"not a file of weights")
        expect(f"{program}: bad weights", run(program, *data, *out, "--load", junk, "--epochs", 0), 4, "junk")
        expect(f"{program}: --help", run(program, "--help"), 0)


def whole_runs(root, good):
    for program, line in (("mnist_cnn", r"Accuracy is (0\.\d+|1\.0+)"), ("mnist_mlp", r"Average test error: \d+\.\d\d%")):
        out = root / f"out_{program}"
        flags = ("--data-folder", good, "--outputs", out, "--batch-size", 32)
        first = run(program, *flags, "--epochs", 2)
        expect(f"{program}: two epochs", first, 0)
        found = re.search(line, first.stdout)
        check(f"{program}: prints '{line}'", found is not None)
        check(f"{program}: names the device first", first.stdout.startswith("cpu: "))
        weights = out / f"{program}.safetensors"
        again = run(program, *flags, "--epochs", 0, "--load", weights)
        expect(f"{program}: --load --epochs 0", again, 0)
        check(f"{program}: same result after loading", found is not None and found.group(0) in again.stdout)
        rounded = run(program, *flags, "--epochs", 0, "--load", weights, "--precision", "bf16")
        expect(f"{program}: --precision bf16", rounded, 0)
        first_line = rounded.stdout.splitlines()[0]
        check(f"{program}: says what bf16 runs", re.search(r"; bf16( \(no such kernels on this processor: tf32 and fp32 rows\))?$",
                                                         first_line) is not None)
        kept = weights.read_bytes()
        run(program, *flags, "--epochs", 2)
        check(f"{program}: same seed, same file", weights.read_bytes() == kept)


def tuning(root, good):
    for program in ("mnist_cnn", "mnist_mlp"):
        out, plain = root / f"tuned_{program}", root / f"untuned_{program}"
        flags = ("--data-folder", good, "--batch-size", 32, "--epochs", 1, "--quiet")
        run(program, *flags, "--outputs", plain)
        first = run(program, *flags, "--outputs", out, "--tune")
        expect(f"{program}: --tune", first, 0)
        check(f"{program}: says that it is tuned", "; fp32, tuned" in first.stdout.splitlines()[0])
        weights = out / f"{program}.safetensors"
        check(f"{program}: fp32 has the same weights tuned and not",
              weights.read_bytes() == (plain / weights.name).read_bytes())
        kept = out / "tune.json"
        choices = json.loads(kept.read_text())
        check(f"{program}: tune.json holds the choices", len(choices["choices"]) > 10 and choices["precision"] == "fp32" and
              all(c["row"].startswith("cpu.") for c in choices["choices"]))
        before = kept.read_bytes()
        expect(f"{program}: --tune again", run(program, *flags, "--outputs", out, "--tune"), 0)
        check(f"{program}: what was chosen is not timed again", kept.read_bytes() == before)
        other = root / f"copied_{program}"
        expect(f"{program}: --tune FILE", run(program, *flags, "--outputs", other, "--tune", kept), 0)
        check(f"{program}: --tune FILE goes with the run", json.loads((other / "tune.json").read_text()) == choices)
        loaded = run(program, *flags[:4], "--epochs", 0, "--outputs", out, "--load", weights)
        expect(f"{program}: --load", loaded, 0)
        check(f"{program}: --load reads tune.json", "; fp32, tuned" in loaded.stdout.splitlines()[0])
        kept.write_text(json.dumps({**choices, "device": "cpu: another"}))
        expect(f"{program}: a file of another machine", run(program, *flags, "--outputs", out, "--tune"), 0, "timed anew")
        check(f"{program}: it was replaced", json.loads(kept.read_text())["device"] == choices["device"])
        kept.write_bytes(before[: len(before) // 2])
        for flag in (("--tune",), ("--tune", kept), ("--load", weights)):
            expect(f"{program}: {flag[0]} with half a tune.json", run(program, *flags, "--outputs", out, *flag), 3, "tune.json")
        expect(f"{program}: --tune FILE that is not there", run(program, *flags, "--outputs", out, "--tune", root / "none"), 5,
               "none")


def lines_of(run_folder):
    return [json.loads(line) for line in (run_folder / "log.jsonl").read_text().splitlines()]


def tracking(root, good):
    for program, name, lists in (("mnist_cnn", "mnist-cnn", ("accuracy",)), ("mnist_mlp", "mnist-mlp", ("Loss", "Error"))):
        runs, out = root / f"runs_{program}", root / f"tracked_{program}"
        flags = ("--data-folder", good, "--outputs", out, "--batch-size", 32, "--epochs", 2, "--quiet", "--runs", runs)
        expect(f"{program}: --no-track", run(program, *flags, "--no-track"), 0)
        check(f"{program}: --no-track leaves nothing", not runs.exists())
        done = run(program, *flags, "--register", "--tensorboard", env={"TENON_MODELS": str(root / f"models_{program}")})
        expect(f"{program}: --register", done, 0)
        check(f"{program}: prints name, id and version", f"{name}\t{name}:1\t1\n" in done.stdout)
        folders = list((runs / "mnist").glob("2*"))  # before the next one
        check(f"{program}: one run", len(folders) == 1 and str(folders[0]) in done.stdout)
        check(f"{program}: one event file", len(list((folders[0] / "tensorboard").glob("events.out.tfevents.*"))) == 1)
        log = lines_of(folders[0])
        blocks = [line for line in log if "series" in line]
        check(f"{program}: every minibatch", sum(line["n"] for line in blocks) == 40 and
              {"step/loss", "step/lr"} < set(blocks[0]["series"]))
        names = {line.get("name") for line in log}
        check(f"{program}: epochs and results", {"epoch/loss", "epoch/seconds", *lists} <= names)
        check(f"{program}: mistakes", any("confusion" in line for line in log))
        check(f"{program}: completed", log[-1].get("status") == "completed")
        manifest = json.loads((folders[0] / "manifest.json").read_text())
        check(f"{program}: weights are files of the run", f"outputs/{program}.safetensors" in json.dumps(manifest))
        away = run(program, *flags, "--mlflow-uri", "ftp://nowhere")
        expect(f"{program}: an MLflow that cannot be reached loses nothing", away, 0, "expected a server")
        blocked = root / f"blocked_{program}"
        blocked.write_text("a file where a folder should be")
        lost = run(program, *flags[:-1], blocked)
        expect(f"{program}: a run that cannot be kept", lost, 0, "nothing is tracked")
        expect(f"{program}: --strict-log", run(program, *flags[:-1], blocked, "--strict-log"), 5, "blocked")


with tempfile.TemporaryDirectory() as temporary:
    root = Path(temporary)
    os.environ.update(TENON_RUNS=str(root / "runs"), TENON_MODELS=str(root / "models"))
    good = write_set(root / "good")
    bad_input(root, good)
    whole_runs(root, good)
    tuning(root, good)
    tracking(root, good)
print(f"{len(FAILURES)} failed")
sys.exit(1 if FAILURES else 0)
