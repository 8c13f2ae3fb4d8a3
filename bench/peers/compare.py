#!/usr/bin/env python3
"""Tenon's training step beside PyTorch's: runs step_bench and torch_step.py in turn, several rounds, and prints one Markdown
table. A round runs every contender once, so that whatever slows the machine down for a while slows all of them."""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
STEP_BENCH = HERE.parents[1] / "build" / "release" / "bin" / "step_bench"


def fail(message, code):
    print(f"compare.py: {message}", file=sys.stderr)
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        fail(message, 2)


def parse():
    parser = Parser(description=__doc__)
    parser.add_argument("--python", required=True, help="a Python that has PyTorch and NumPy")
    parser.add_argument("--data-folder", required=True)
    parser.add_argument("--step-bench", default=str(STEP_BENCH), help="default: build/release/bin/step_bench")
    parser.add_argument("--models", default="cnn,mlp")
    parser.add_argument("--threads", default=str(os.cpu_count()), help="list: each is a part of the table of its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="timed steps of the cnn in a round; of the mlp ten times as many")
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--provider", action="append", default=[], help="a further Tenon run with this --provider; may be repeated")
    parser.add_argument("--preload", help="an allocator's library: further PyTorch runs with it in LD_PRELOAD")
    parser.add_argument("--json", action="store_true", help="print every run's object instead of the table")
    flags = parser.parse_args()
    if flags.rounds < 5:
        fail(f"expects at least 5 rounds, found {flags.rounds}", 2)
    flags.models = flags.models.split(",")
    try:
        flags.threads = [int(n) for n in flags.threads.split(",")]
    except ValueError:
        fail(f"--threads expects numbers, found {flags.threads}", 2)
    for path in filter(None, (flags.step_bench, flags.preload)):
        if not Path(path).is_file():
            fail(f"expected a file, found none: {path}", 2)
    return flags


def contenders(flags):
    """(name, command, environment); the first is what the others are compared with."""
    torch = [flags.python, str(HERE / "torch_step.py")]
    runs = [("tenon", [flags.step_bench], {})]
    runs += [(f"tenon {p}", [flags.step_bench, "--provider", p], {}) for p in flags.provider]
    for name, extra in (("torch", []), ("torch channels_last", ["--channels-last"])):
        runs.append((name, torch + extra, {}))
        if flags.preload:
            runs.append((f"{name} + {Path(flags.preload).name}", torch + extra, {"LD_PRELOAD": flags.preload}))
    return runs


def run(command, environment):
    try:
        done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        fail(f"cannot run {command[0]}: {error.strerror}", 2)
    if done.returncode:
        fail(f"{command[0]} ended with {done.returncode}", done.returncode if done.returncode > 0 else 1)
    return json.loads(done.stdout.strip().splitlines()[-1])


def print_table(results, flags):
    print(f"{flags.rounds} rounds in turn; medians over the rounds of each round's median step; range is their least and greatest.\n")
    print("| model | threads | | step, ms | range, ms | best step, ms | images/s | time / tenon's |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    base = None
    for (model, threads, name), runs in results.items():
        steps = [r["median_ms"] for r in runs]
        step = median(steps)
        if name == "tenon":
            base = step
        print(
            f"| {model} | {threads} | {name} | {step:.2f} | {min(steps):.2f} to {max(steps):.2f} | "
            f"{min(r['min_ms'] for r in runs):.2f} | {1e3 * runs[0]['batch'] / step:.0f} | {step / base:.2f} |"
        )
    print()
    for banner in sorted({r["banner"] for runs in results.values() for r in runs}):
        print(f"- {banner}")


def main():
    flags = parse()
    runs = contenders(flags)
    results = {(m, t, name): [] for m in flags.models for t in flags.threads for name, _, _ in runs}
    for number in range(flags.rounds):
        for model in flags.models:
            steps = flags.steps * (10 if model == "mlp" else 1)
            for threads in flags.threads:
                common = ["--model", model, "--data-folder", flags.data_folder, "--threads", str(threads)]
                common += ["--steps", str(steps), "--warmup", str(flags.warmup), "--json"]
                for name, command, environment in runs:
                    results[model, threads, name].append(run(command + common, environment))
        print(f"round {number + 1} of {flags.rounds} done", file=sys.stderr)
    if flags.json:
        print(json.dumps([{"name": key[2], **r} for key, rs in results.items() for r in rs], indent=2))
    else:
        print_table(results, flags)


if __name__ == "__main__":
    main()
