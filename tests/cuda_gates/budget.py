#!/usr/bin/env python3
"""Registers, memory and spills of every CUDA kernel against tests/cuda_gates/budget.json.

    budget.py FOLDER            compares what log_ptxas.sh left in FOLDER (*.ptxas) with the budget
    budget.py FOLDER --update   rewrites the budget
    budget.py --self-test       plants one violation of each kind and must find it

A kernel may use less than its budget, never more; one that the budget does not know, or that is gone, is an error as well,
so that the file says what is there. Spills are in the budget like the rest: it says 0 for all kernels. --for sm_90 (the
default) picks an architecture, --toolkit the version of ptxas that the figures belong to: with another one the comparison is
skipped, because registers are then another program's choice.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

BUDGET = pathlib.Path(__file__).with_name("budget.json")
FIGURES = {
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
    "stack": r"(\d+) bytes stack frame",
    "spills": r"(\d+) bytes spill stores",
}


def demangled(names):
    """Names as people write them, without what all of them share."""
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return [re.sub(r"^void |tenon::|cuda::|\(anonymous namespace\)::", "", line) for line in out.splitlines()]


def parse(text, architecture):
    """[(mangled name, figures)] of one object's report."""
    found = []
    for part in re.split(r"ptxas info\s*: Compiling entry function ", text)[1:]:
        head = re.match(r"'([^']+)' for '([^']+)'", part)
        if head is None or head.group(2) != architecture:
            continue
        figures = {}
        for figure, pattern in FIGURES.items():
            match = re.search(pattern, part)
            figures[figure] = int(match.group(1)) if match else 0
        if figures["registers"] == 0:
            raise SystemExit(f"[budget] no registers in what ptxas says of {head.group(1)}")
        found.append((head.group(1), figures))
    return found


def read(folder, architecture):
    kernels = {}
    reports = sorted(pathlib.Path(folder).rglob("*.ptxas"))
    for report in reports:
        found = parse(report.read_text(), architecture)
        source = report.name.split(".")[0]
        for name, (_, figures) in zip(demangled([n for n, _ in found]), found):
            key = f"{source}: {name}"
            # The same name twice: two kernels whose types are both anonymous; the budget is that of the larger.
            old = kernels.get(key, dict.fromkeys(FIGURES, 0))
            kernels[key] = {f: max(old[f], figures[f]) for f in FIGURES}
    if not kernels:
        raise SystemExit(f"[budget] {folder}: expected reports of kernels for {architecture}, found none in "
                         f"{len(reports)} files")
    return kernels


def compare(found, allowed):
    faults = []
    for name in sorted(found.keys() | allowed.keys()):
        if name not in allowed:
            faults.append(f"{name}: not in the budget; --update puts it there")
        elif name not in found:
            faults.append(f"{name}: in the budget, but no such kernel was compiled")
        else:
            for figure in FIGURES:
                if found[name][figure] > allowed[name][figure]:
                    faults.append(f"{name}: {figure}: found {found[name][figure]}, allowed {allowed[name][figure]}")
    return faults


def self_test():
    text = """ptxas info    : Compiling entry function '_Z1kv' for 'sm_90'
ptxas info    : Function properties for _Z1kv
    16 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 16 bytes cumulative stack size, 512 bytes smem
ptxas info    : Compiling entry function '_Z1kv' for 'sm_80'
ptxas info    : Used 99 registers
"""
    parsed = parse(text, "sm_90")
    assert parsed == [("_Z1kv", {"registers": 40, "shared": 512, "stack": 16, "spills": 8})], parsed
    found = {"k": parsed[0][1]}
    assert compare(found, {"k": dict(found["k"])}) == []
    assert compare(found, {"k": {f: v + 1 for f, v in found["k"].items()}}) == []
    for figure in FIGURES:
        tight = dict(found["k"])
        tight[figure] -= 1
        assert compare(found, {"k": tight}) == [f"k: {figure}: found {found['k'][figure]}, allowed {tight[figure]}"]
    assert len(compare(found, {})) == 1 and len(compare({}, found)) == 1
    print("Every violation of a budget is found")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--for", dest="architecture", default="sm_90")
    parser.add_argument("--toolkit", default="")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.folder is None:
        parser.error("expected the folder of the reports")
    toolkit = ".".join(arguments.toolkit.split(".")[:2])
    found = read(arguments.folder, arguments.architecture)
    if arguments.update:
        lines = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(found.items()))
        BUDGET.write_text(f'{{\n  "toolkit": "{toolkit}",\n  "architecture": "{arguments.architecture}",\n'
                          f'  "kernels": {{\n{lines}\n  }}\n}}\n')
        return print(f"{BUDGET.name}: {len(found)} kernels")
    budget = json.loads(BUDGET.read_text())
    if budget["architecture"] != arguments.architecture:
        raise SystemExit(f"[budget] the budget is for {budget['architecture']}, found {arguments.architecture}")
    if toolkit and budget["toolkit"] and toolkit != budget["toolkit"]:
        return print(f"skipped: the budget is for CUDA {budget['toolkit']}, the compiler is of {toolkit}")
    faults = compare(found, budget["kernels"])
    for fault in faults:
        print(f"[budget] {fault}", file=sys.stderr)
    if faults:
        raise SystemExit(1)
    print(f"{len(found)} kernels keep their budgets; the most registers: "
          f"{max(f['registers'] for f in found.values())}, the largest stack: {max(f['stack'] for f in found.values())}")


if __name__ == "__main__":
    main()
