#!/usr/bin/env python3
"""bench/peers/compare.py --kernels with stand-ins for the programs that it runs: which of oneDNN's configurations is the rival
of a row, the geometric means, what is left out, and what --keep takes from an earlier table."""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMPARE = Path(__file__).resolve().parents[1] / "bench" / "peers" / "compare.py"
FAILURES = []
FLAGS = "import json, os, sys\nflag = lambda name: sys.argv[sys.argv.index(name) + 1]\n"
# 8 ms in fp32, 2 ms in bf16; one of its rows is unknown to oneDNN. STAND_IN_CLASSES: those that this processor has.
TENON = """
known = flag("--precision") in os.environ["STAND_IN_CLASSES"].split(",")
cell = {"provider": "cpu.x", "precision": flag("--precision") if known else "fp32", "gflops": 1,
        "median_ms": 2 if flag("--precision") == "bf16" else 8}
print(json.dumps({"rows": [{"name": name, "alive": float(os.environ["STAND_IN_ALIVE"]), "results": {"cpu": cell}}
                           for name in ("conv2d/a", "conv2d_grad_input/a", "matmul/b", "matmul/tenon_only")]}))
"""
# The system's library is the faster one for a product, the newer one for everything else.
ONEDNN = """
factor = (1 if flag("--format") == "any" else 2) * (1 if flag("--storage") == flag("--precision") or
                                                    flag("--precision") == "fp32" else 3)
for name, ms in {TIMES}.items():
    print(json.dumps({"name": name, "ms": ms * factor, "implementation": "jit", "result": "fp32", "format": flag("--format"),
                      "banner": "oneDNN {VERSION}"}))
"""
PROGRAMS = {
    "kernels_bench": TENON,
    "onednn_kernels": ONEDNN.replace("{VERSION}", "2.0.0").replace(
        "{TIMES}", "{'conv2d/a': 8, 'conv2d_grad_input/a': 9, 'matmul/b': 2}"),
    "onednn_kernels_pypi": ONEDNN.replace("{VERSION}", "3.0.0").replace(
        "{TIMES}", "{'conv2d/a': 4, 'conv2d_grad_input/a': 8, 'matmul/b': 5}"),
}  # fmt: skip


def check(what, holds):
    if not holds:
        FAILURES.append(what)


def compare(folder, *words, alive=1, classes="fp32,tf32,bf16"):
    command = [sys.executable, str(COMPARE), "--kernels", "--only", "onednn", "--bin", str(folder), "--threads", "2",
               "--rounds", "3", "--out", str(folder / "out"), *words]  # fmt: skip
    stand_in = {"STAND_IN_ALIVE": str(alive), "STAND_IN_CLASSES": classes, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **stand_in})


def rows(folder):
    found = json.loads((folder / "out" / "kernels.json").read_text(encoding="utf-8"))["rows"]
    return {(r["precision"], r["name"]): (r["rival"], r["rival_ms"], r["times_tenon"]) for r in found}


def run(folder):
    for name, body in PROGRAMS.items():
        (folder / name).write_text(f"#!{sys.executable}\n{FLAGS}{body}", encoding="utf-8")
        (folder / name).chmod(0o755)

    done = compare(folder, "--precisions", "fp32,bf16")
    check(f"both precisions: {done.stderr}", done.returncode == 0)
    found = rows(folder)
    check(f"only rows that both have: {sorted(found)}", len(found) == 6)
    check("the newer one is the rival", found["fp32", "conv2d/a"] == ("pypi fp32 any", 4, 0.5))
    check("the system's is the rival", found["bf16", "matmul/b"] == ("system bf16 any", 2, 1))
    check(f"geometric means of fp32: {done.stdout}", "| fp32, 2 threads | 0.50 | 1.00 | | 0.25 | 0.50 | 0 of 3 |" in done.stdout)
    check("geometric means of bf16", "| bf16, 2 threads | 2.00 | 4.00 | | 1.00 | 2.00 | 2 of 3 |" in done.stdout)
    check("both versions are named", "- oneDNN 2.0.0\n- oneDNN 3.0.0\n" in done.stdout)

    done = compare(folder, "--precisions", "tf32", "--match", "plain", "--keep")
    found = rows(folder)
    check(f"earlier rows are kept: {done.stderr}", len(found) == 9 and ("bf16", "conv2d/a") in found)
    check("--match", found["tf32", "conv2d/a"][0] == "pypi tf32 plain")

    done = compare(folder, classes="fp32")
    check("a class that is not there is left out", "no kernels of bf16" in done.stderr and len(rows(folder)) == 3)
    done = compare(folder, alive=0.5)
    check(f"a gated row is refused: {done.stderr}", done.returncode == 1 and "expected dense operands" in done.stderr)
    done = compare(folder, "--precisions", "fp8")
    check("wrong usage", done.returncode == 2 and "--precisions expects fp32, tf32, bf16, found 'fp8'" in done.stderr)


# A Python with PyTorch and JAX: one form does not start, one is never warm, the others take 4 or 8 times Tenon's half millisecond.
PYTHON = """
import time
if sys.argv[1] == "-c":
    print("[]")
    sys.exit()
if "max-autotune" in sys.argv:
    sys.exit("no compiler")
if "reduce-overhead" in sys.argv:
    time.sleep(60)
torch = "torch_step" in sys.argv[1]
print("a library's own words")
print(json.dumps({"ready": "yes"}), flush=True)
for line in sys.stdin:
    print(json.dumps({"program": "x", "median_ms": 2 if torch else 4, "min_ms": 1, "batch": 128, "steps": int(line), "warmup": 64,
                      "loss_first": 2, "loss_last": 1, "banner": "peer " + flag("--precision")}), flush=True)
"""
STEP_BENCH = """
print(json.dumps({"program": "tenon", "median_ms": 0.5, "min_ms": 0.4, "batch": 128, "steps": 640, "warmup": 480, "loss_first": 2,
                  "loss_last": 1, "banner": "cuda", "data": "/data", "device": flag("--device")}))
"""


def run_on_device(folder):
    for name, body in (("python", PYTHON), ("step_bench", STEP_BENCH)):
        (folder / name).write_text(f"#!{sys.executable}\n{FLAGS}{body}", encoding="utf-8")
        (folder / name).chmod(0o755)
    for kind, shape in (("images", 3), ("labels", 1)):
        (folder / f"train-{kind}-idx{shape}-ubyte").write_bytes(b"")
    command = [sys.executable, str(COMPARE), "--device", "cuda", "--models", "cnn", "--bin", str(folder), "--python",
               str(folder / "python"), "--data-folder", str(folder), "--out", str(folder / "out"), "--steps", "640",
               "--at-once", "8", "--start-limit", "8"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    check(f"on a device: {done.stderr}", done.returncode == 0)
    if done.returncode:
        return
    rows = json.loads((folder / "out" / "peers.json").read_text(encoding="utf-8"))["rows"]
    check("all rounds of all that run", {r["rounds"] for r in rows if r["peer"] == "tenon"} == {5})
    check("Tenon in four precisions", sum(r["peer"] == "tenon" for r in rows) == 4)
    found = {r["form"]: r["times_tenon"] for r in rows}
    check(f"ratios: {found}", found["eager tf32"] == 4 and found["scan of an epoch bf16"] == 8)
    check("recorded forms", {"compiled graph channels_last bf16", "eager graph fp32"} <= set(found))
    check("what does not start", "PyTorch compiled max-autotune graph tf32 is left out of cnn, cuda: ended with 1: no compiler" in
          done.stderr or "no time was left" in done.stderr)  # fmt: skip
    check("what is never warm", "PyTorch compiled reduce-overhead tf32 is left out of cnn, cuda: not done after" in done.stderr)


def main():
    with tempfile.TemporaryDirectory() as folder:
        run_on_device(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))
    for failure in FAILURES:
        print(f"peers_test: {failure}", file=sys.stderr)
    sys.exit(1 if FAILURES else 0)


if __name__ == "__main__":
    main()
