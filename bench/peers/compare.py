#!/usr/bin/env python3
"""Tenon beside its peers: runs every contender in turn, each in a process of its own, several rounds, and writes a Markdown
table, a JSON file and an SVG chart. A round runs every contender once, so that whatever slows the machine down for a while
slows all of them."""
import argparse
import ctypes.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import harness
import on_device
import report
from contender import Contender

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = {  # what has to be in the virtual environment
    "torch": ("torch", "numpy"),
    "keras-tf": ("keras", "tensorflow", "numpy"),
    "keras-jax": ("keras", "jax", "numpy"),
    "onnxruntime": ("onnxruntime", "onnx", "numpy"),
    "onednn": (),
}
# Programs that time oneDNN's kernels: the system's library, and a newer one from PyPI.
ONEDNN = {"system": "onednn_kernels", "pypi": "onednn_kernels_pypi"}
# Every variable that holds a peer to what TENON_ISA holds Tenon to. ONNX Runtime has none.
ISA = {
    "native": {},
    "avx2": {
        "TENON_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
}
UNCAPPED = ("onnxruntime",)


def parse():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenon"
    parser = harness.Parser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--python", default=str(cache / "peers" / "bin" / "python"), help="the virtual environment's")
    add("--bin", default=str(ROOT / "build" / "release" / "bin"), help="folder of Tenon's benchmark programs")
    add("--data-folder", help="MNIST's files; otherwise TENON_MNIST, ./data and the user's cache are searched")
    add("--only", help=f"peers, a list (default: {','.join(PEERS)}; with --device {','.join(on_device.PEERS)})")
    add("--device", default="", help="cuda[:N]: training steps on a GPU; cpu tries the same programs out without one")
    add("--peers-device", help="where the peers run, if not there: cpu tries them out beside an emulated GPU")
    add("--batch", type=int, default=0, help="with --device: images in a minibatch, 0 for the model's")
    add("--together", type=int, default=0, help="with --device: steps between two readings of the peers' losses, 0 for theirs")
    add("--at-once", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="with --device: peers that start together")
    add("--start-limit", type=float, default=300, help="with --device: seconds until all peers are warm; the others are left out")
    add("--models", default="cnn,mlp,cnn-infer-500,cnn-infer-1", help="a list: training of cnn, mlp; prediction in batches")
    add("--kernels", action="store_true", help="instead: oneDNN kernel by kernel, on shapes of ResNet-50 and MobileNet")
    add("--filter", default="(resnet50|mobilenet)_", help="with --kernels: names operation/shape that match")
    add("--precisions", default=",".join(report.PRECISIONS), help="with --kernels: a list; what the processor lacks is left out")
    add("--keep", action="store_true", help="with --kernels: rows in --out that this run does not measure stay in its files")
    add("--threads", default=str(len(os.sched_getaffinity(0))), help="list: each is a part of the table of its own")
    add("--isa", default="native", help="list of native, avx2: instruction sets to which all are capped")
    add("--rounds", type=int, default=5)
    add("--steps", type=int, default=50, help="timed steps of the cnn in a round; mlp 10 times, single images 40 times as many")
    add("--warmup", type=int, default=30, help="steps of the peers before them: their steps take as long in every epoch")
    add("--warmup-tenon", type=int, default=470,
        help="steps of Tenon before them: its backward leaves out dead terms, of which the first epoch (469) has fewer")
    add("--drop", type=float, default=1.5, metavar="X",
        help="after the first round, leave out what took X times as long as the peer's fastest; 0 never")  # fmt: skip
    add("--provider", action="append", default=[], help="a further Tenon run with this --provider; may be repeated")
    add("--match", default="", metavar="REGEX", help="only the peers' configurations whose words match, as in the table")
    add("--preload", help="allocator's library for further runs of the peers, or none (default: tcmalloc, if it is there)")
    add("--timeout", type=int, default=1200, help="seconds for one run")
    add("--out", default=str(ROOT / "build" / "peers"), help="folder for the table, the JSON file and the chart")
    add("--readme", help="a Markdown file: its part between the two marks <!-- NAME --> becomes the new table")
    return check(parser.parse_args(), cache)


def check(flags, cache):
    least = 3 if flags.kernels else 5  # a round of kernels takes the median of three samples already
    if flags.rounds < least:
        harness.fail(f"--rounds expects {least} or more, found {flags.rounds}", 2)
    if flags.steps < 1 or min(flags.warmup, flags.warmup_tenon) < 0 or flags.timeout < 1 or (flags.drop and flags.drop < 1):
        harness.fail("--steps, --timeout expect 1 or more, --warmup, --warmup-tenon 0 or more, --drop 0 or 1 and more", 2)
    known_peers = on_device.PEERS if flags.device else PEERS
    flags.only = flags.only or ",".join(known_peers)
    flags.only, flags.models, flags.isa = (v.split(",") for v in (flags.only, flags.models, flags.isa))
    flags.precisions = flags.precisions.split(",")
    lists = (("--only", flags.only, known_peers), ("--isa", flags.isa, ISA), ("--precisions", flags.precisions, report.PRECISIONS))
    for name, values, known in lists:
        for value in values:
            if value not in known:
                harness.fail(f"{name} expects {', '.join(known)}, found '{value}'", 2)
    try:
        flags.threads = [int(n) for n in flags.threads.split(",")]
    except ValueError:
        harness.fail(f"--threads expects numbers, found '{flags.threads}'", 2)
    if min(flags.threads) < 1:
        harness.fail(f"--threads expects 1 or more, found {min(flags.threads)}", 2)
    flags.models = [task_of(name) for name in flags.models]
    if flags.device:
        flags.peers_device = flags.peers_device or flags.device
        flags.models = [task for task in flags.models if task[2] == 0]
        if flags.kernels or not flags.models or min(flags.batch, flags.together) < 0 or flags.at_once < 1:
            harness.fail("--device expects models to train, no --kernels, and numbers above 0", 2)
    try:
        re.compile(flags.match)
    except re.error as error:
        harness.fail(f"--match expects a regular expression, found '{flags.match}': {error}", 2)
    if flags.preload is None:
        flags.preload = ctypes.util.find_library("tcmalloc_minimal") or "none"
    elif flags.preload != "none" and not Path(flags.preload).is_file():
        harness.fail(f"--preload expects a file, found none: {flags.preload}", 2)
    if flags.readme and not Path(flags.readme).is_file():
        harness.fail(f"--readme expects a file, found none: {flags.readme}", 2)
    if flags.readme:
        report.pieces(flags.readme, "kernels" if flags.kernels else "peers")  # before hours of measuring, not after
    if not flags.kernels:
        flags.data_folder = data_folder(flags.data_folder, cache)
    return flags


def task_of(name):
    """(name, model, batch of the prediction or 0 for training)"""
    model, _, batch = name.partition("-infer-")
    if model not in harness.BATCH or (batch and not (batch.isdigit() and int(batch))) or name.endswith("-infer-"):
        harness.fail(f"--models expects cnn, mlp, cnn-infer-N or mlp-infer-N, found '{name}'", 2)
    return name, model, int(batch or 0)


def data_folder(named, cache):
    places = [named] if named else [os.environ.get("TENON_MNIST", ""), ROOT / "data", cache]
    for place in filter(None, places):
        if harness.find(place, "images") and harness.find(place, "labels"):
            return str(Path(place).resolve())
    return harness.fail(f"expected MNIST's files in {' or '.join(str(p) for p in places if p)}; --data-folder names another", 3)


def present(flags, notes):
    """The peers that can run; the others are named in the notes."""
    script = ("import importlib.util as u, json, sys; "
              "print(json.dumps([m for m in sys.argv[1:] if u.find_spec(m) is None]))")  # fmt: skip
    needs = on_device.PEERS if flags.device else PEERS
    modules = sorted({m for peer in flags.only for m in needs[peer]})
    missing = set(modules)
    if Path(flags.python).is_file():
        done = subprocess.run([flags.python, "-c", script, *modules], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            missing = set(json.loads(done.stdout))
    there = []
    for peer in flags.only:
        lacking = [m for m in needs[peer] if m in missing]
        if peer == "onednn":
            lacking = [] if onednn_programs(flags) else ["onednn_kernels (package libdnnl-dev)"]
        if peer == "onednn" and not flags.kernels:
            continue
        if lacking:
            notes.append(f"{report.NAMES[peer]} is left out: {', '.join(lacking)} not installed")
        else:
            there.append(peer)
    return there


def onednn_programs(flags):
    """(whose library, path) of the programs that are built."""
    paths = [(source, Path(flags.bin) / name) for source, name in ONEDNN.items()]
    return [(source, str(path)) for source, path in paths if path.is_file()]


def peer_forms(peer, training, cnn):
    """(configuration in words, precision, flags, environment) of everything that a peer can be set to."""
    if training and peer == "torch":
        for precision in ("fp32", "bf16"):
            for compiled in ((), ("--compile",)):
                for order in ((), ("--channels-last",)) if cnn else ((),):
                    words = ["compiled"] * bool(compiled) + ["channels_last"] * bool(order)
                    yield " ".join(words), precision, ["--precision", precision, *compiled, *order], {}
    if training and peer == "keras-tf":
        for precision in ("fp32", "bf16"):
            for jit in ((), ("--jit",)):
                yield "jit" if jit else "", precision, ["--precision", precision, *jit], {"KERAS_BACKEND": "tensorflow"}
    if training and peer == "keras-jax":
        for precision in ("fp32", "bf16"):
            yield "", precision, ["--precision", precision], {"KERAS_BACKEND": "jax"}
    if not training and peer == "onnxruntime":
        yield "", "fp32", [], {}


SCRIPTS = {"torch": "torch_step.py", "keras-tf": "keras_step.py", "keras-jax": "keras_step.py", "onnxruntime": "onnx_infer.py"}


def model_contenders(flags, peers, notes):
    preloads = [("", {})]
    if flags.preload != "none":
        name = Path(flags.preload).name.split(".")[0].removeprefix("lib").removesuffix("_minimal")
        preloads.append((f"+ {name}", {"LD_PRELOAD": flags.preload}))
    for name, model, batch in flags.models:
        many = 40 if batch == 1 else 10 if model == "mlp" else 1
        for threads in flags.threads:
            for isa in flags.isa:
                task = (name, threads, isa)
                common = ["--model", model, "--data-folder", flags.data_folder, "--threads", str(threads), "--json",
                          "--steps", str(flags.steps * many)]  # fmt: skip
                common += ["--batch", str(batch)] if batch else []
                warmup = flags.warmup if batch else flags.warmup_tenon
                tenon = [str(Path(flags.bin) / ("infer_bench" if batch else "step_bench")), *common, "--warmup", str(warmup)]
                common += ["--warmup", str(flags.warmup)]
                yield Contender(task, "tenon", "", "fp32", tenon, ISA[isa])
                for precision in ("tf32", "bf16"):
                    yield Contender(task, "tenon", precision, precision, [*tenon, "--precision", precision], ISA[isa])
                for provider in flags.provider if not batch else []:
                    yield Contender(task, "tenon", provider, "fp32", [*tenon, "--provider", provider], ISA[isa])
                for peer in peers:
                    forms = list(peer_forms(peer, not batch, model == "cnn"))
                    if forms and isa != "native" and peer in UNCAPPED:
                        notes.append(f"{report.NAMES[peer]} is left out of {name} {isa}: nothing caps its instruction set")
                        continue
                    for form, precision, extra, environment in forms:
                        for allocator, preload in preloads:
                            command = [flags.python, str(HERE / SCRIPTS[peer]), *common, *extra]
                            words = " ".join(filter(None, (form, precision if precision != "fp32" else "", allocator)))
                            if not re.search(flags.match, words):
                                continue
                            yield Contender(task, peer, words, precision, command, {**ISA[isa], **environment, **preload})


def kernel_contenders(flags, peers):
    storages = {"fp32": ("fp32",), "tf32": ("fp32",), "bf16": ("bf16", "fp32")}  # in memory
    programs = onednn_programs(flags) if "onednn" in peers else []
    for threads in flags.threads:
        for isa in flags.isa:
            task = ("kernels", threads, isa)
            common = ["--filter", flags.filter, "--threads", str(threads), "--rounds", "3"]
            for precision in flags.precisions:
                command = [str(Path(flags.bin) / "kernels_bench"), "--compare", "cpu", "--json", *common,
                           "--precision", precision]  # fmt: skip
                yield Contender(task, "tenon", precision if precision != "fp32" else "", precision, command, ISA[isa])
                for source, program in programs:
                    for storage in storages[precision]:
                        for form in ("any", "plain"):
                            words = f"{source} {precision} {form}" + " fp32 storage" * (storage != precision == "bf16")
                            if not re.search(flags.match, words):
                                continue
                            command = [program, "--precision", precision, "--storage", storage, "--format", form, *common]
                            yield Contender(task, "onednn", words, precision, command, ISA[isa])


def parse_kernels(contender, lines):
    """name -> milliseconds, and the same beside what else is worth keeping."""
    if contender.peer == "onednn":
        rows = [json.loads(line) for line in lines]
        keys = ("ms", "result", "format", "banner")
        return {r["name"]: {"by": r["implementation"], **{key: r[key] for key in keys}} for r in rows}
    rows = {r["name"]: (r["results"]["cpu"], r["alive"]) for r in json.loads("\n".join(lines))["rows"]}
    rows = {name: (cell, alive) for name, (cell, alive) in rows.items() if "median_ms" in cell}
    if not any(cell["precision"] == contender.precision for cell, _ in rows.values()):
        raise ValueError(f"this processor has no kernels of {contender.precision}")
    gated = [name for name, (_, alive) in rows.items() if alive != 1]
    if gated:  # oneDNN skips no terms
        raise ValueError(f"expected dense operands, found a mask in {gated[0]}")
    return {name: {"ms": cell["median_ms"], "by": cell["provider"], "row_precision": cell["precision"],
                   "gflops": cell["gflops"]} for name, (cell, _) in rows.items()}  # fmt: skip


def parse_model(contender, lines):
    result = json.loads(lines[-1])
    result.pop("data", None)  # a path of this machine
    if contender.peer == "tenon" and "no such kernels" in result["banner"]:
        raise ValueError(f"this processor has no kernels of {contender.precision}")
    learned = result.get("loss_last", 0) < result.get("loss_first", 1)
    if not learned and result["steps"] + result["warmup"] >= 50:  # fewer steps say nothing
        raise ValueError(f"its loss did not fall: {result['loss_first']:.4f} to {result['loss_last']:.4f}")
    return result


def drop_slow(contenders, flags):
    """After the first round: a configuration that is far behind its peer's best one will not win."""
    for c in contenders:
        best = min(o.runs[0]["median_ms"] for o in contenders if o.runs and o.peer == c.peer and o.precision == c.precision
                   and o.task == c.task) if c.runs else 0  # fmt: skip
        if c.peer != "tenon" and c.runs and c.runs[0]["median_ms"] > flags.drop * best:
            c.out = True


def measure(flags, contenders, notes):
    parse_lines = parse_kernels if flags.kernels else parse_model
    for number in range(flags.rounds):
        shift = number % len(contenders)  # nobody runs always behind the same one
        for c in contenders[shift:] + contenders[:shift]:
            if c.out:
                continue
            lines, why = c.run(flags)
            if not why:
                try:
                    c.runs.append(parse_lines(c, lines))
                except (ValueError, KeyError, IndexError) as error:
                    why = str(error)
            if why and c.peer == "tenon" and not c.form:
                harness.fail(f"{c.label()}, {c.task[0]}: {why}", 1)
            if why:
                c.out, c.runs = True, []
                notes.append(f"{c.label()} is left out of {c.task[0]}, {c.task[1]} threads, {c.task[2]}: {why}")
        if number == 0 and flags.drop and not flags.kernels:
            drop_slow(contenders, flags)
        print(f"round {number + 1} of {flags.rounds} done", file=sys.stderr, flush=True)


def main():
    flags = parse()
    notes = []
    peers = present(flags, notes)
    if flags.device:
        contenders = on_device.run(flags, peers, notes, lambda everyone: measure(flags, everyone, notes))
        for note in notes:
            print(f"compare.py: {note}", file=sys.stderr)
        finish(flags, contenders, notes)
        return
    contenders = list(kernel_contenders(flags, peers) if flags.kernels else model_contenders(flags, peers, notes))
    for path in {c.command[0] for c in contenders if c.peer == "tenon"}:
        if not Path(path).is_file():
            harness.fail(f"expected a program, found none: {path}", 2)
    for note in notes:
        print(f"compare.py: {note}", file=sys.stderr)
    before = len(notes)
    measure(flags, contenders, notes)
    for note in notes[before:]:
        print(f"compare.py: {note}", file=sys.stderr)
    finish(flags, contenders, notes)


def finish(flags, contenders, notes):
    if not any(c.runs for c in contenders):
        harness.fail("expected a contender that runs, found none", 1)
    try:
        print(report.write(flags, contenders, notes))
    except OSError as error:
        harness.fail(f"cannot write {error.filename}: {error.strerror}", 5)


if __name__ == "__main__":
    main()
