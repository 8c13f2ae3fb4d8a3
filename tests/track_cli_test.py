#!/usr/bin/env python3
"""The program `tenon` as a user meets it: what it says of runs and models, in text, JSON and CSV, and its exit codes.

Usage: track_cli_test.py TENON TRACKED_RUN
"""
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TENON, TRACKED_RUN = sys.argv[1:]
FAILURES = []


def check(what, condition, seen=""):
    print(f"{'ok  ' if condition else 'FAIL'} {what}")
    if not condition:
        FAILURES.append(what)
        print(seen)


def main(root):
    environment = {**os.environ, "TENON_RUNS": str(root / "runs"), "TENON_MODELS": str(root / "models")}

    def tenon(*words, code=0):
        done = subprocess.run([TENON, *map(str, words)], capture_output=True, env=environment, timeout=60)
        text = done.stdout.decode("utf-8", "replace")
        check(f"{' '.join(map(str, words))[:60]}: status {code}", done.returncode == code, done.stdout + done.stderr)
        return text, done.stderr.decode("utf-8", "replace")

    runs = [Path(subprocess.run([TRACKED_RUN, root / "runs"], check=True, capture_output=True, text=True).stdout.strip())
            for _ in range(2)]
    first = runs[0].name

    text, _ = tenon("runs", "ls")
    check("ls: both runs under a heading", text.startswith("run ") and text.count("\n") == 3 and first in text, text)
    check("ls: nothing that a terminal obeys", all(c == "\n" or ord(c) >= 32 for c in text))
    listed = json.loads(tenon("runs", "ls", "--json")[0])
    check("ls --json", [r["id"] for r in listed] == [r.name for r in runs] and listed[0]["status"] == "completed")
    rows = list(csv.DictReader(io.StringIO(tenon("runs", "ls", "--csv")[0])))
    check("ls --csv", [r["run"] for r in rows] == [r.name for r in runs])

    shown = json.loads(tenon("runs", "show", first, "--json")[0])
    check("show --json", shown["params"]["lr"] == "0.001" and shown["last"]["accuracy"] == 0.99)
    check("show", "Parameters" in tenon("runs", "show", runs[0])[0])
    metrics = json.loads(tenon("runs", "metrics", first, "--json")[0])
    check("metrics --json: every point", len(metrics["Loss"]) == 9375 and metrics["odd"][0]["value"] == "NaN" and
          metrics["odd"][1]["value"] == "Infinity" and metrics["big step"][0]["step"] == 1 << 40)
    rows = list(csv.DictReader(io.StringIO(tenon("runs", "metrics", first, "Loss", "--csv")[0])))
    check("metrics --csv: the same values", [float(r["value"]) for r in rows] == [p["value"] for p in metrics["Loss"]])
    check("metrics: an unknown one", "there are: " in tenon("runs", "metrics", first, "nothing", code=2)[1])
    (runs[1] / "outputs").mkdir(exist_ok=True)
    check("files --json", isinstance(json.loads(tenon("runs", "files", first, "--json")[0]), list))
    check("diff: only what differs", "lr" not in tenon("runs", "diff", runs[0], runs[1])[0].split())

    check("report", Path(tenon("runs", "report", first)[0].strip()).is_file() and (root / "runs" / "index.html").is_file())
    check("tensorboard", Path(tenon("runs", "tensorboard", first)[0].strip()).is_file())
    check("watch --once", "completed" in tenon("watch", first, "--once")[0])
    check("watch: a run that has ended", tenon("watch", first)[0].count("\n") == 1)

    weights = root / "weights.bin"
    weights.write_bytes(b"some weights")
    check("register", tenon("models", "register", "digits", weights, "--run", first)[0] == "digits\tdigits:1\t1\n")
    check("register again", tenon("models", "register", "digits", weights)[0] == "digits\tdigits:2\t2\n")
    tenon("models", "alias", "digits", "best", 1)
    check("get", Path(tenon("models", "get", "digits", "best")[0].strip()).read_bytes() == b"some weights")
    versions = json.loads(tenon("models", "show", "digits", "--json")[0])
    check("show: versions, run and alias", [v["version"] for v in versions] == [1, 2] and versions[0]["run_id"] == first and
          versions[0]["aliases"] == ["best"], versions)
    check("ls: the newest", json.loads(tenon("models", "ls", "--json")[0])[0]["version"] == 2)
    tenon("models", "alias", "digits", "best")
    tenon("models", "get", "digits", "best", code=2)
    tenon("models", "get", "letters", code=2)

    check("rm asks", "--yes" in tenon("runs", "rm", first, code=2)[1] and runs[0].is_dir())
    tenon("runs", "rm", first, "--yes")
    check("rm", not runs[0].exists())
    check("an unknown run is one line", tenon("runs", "show", "nowhere", code=2)[1].count("\n") == 1)
    tenon("runs", "show", code=2)
    tenon("bogus", code=2)
    tenon("runs", "ls", "--json", "--csv", code=2)
    for words in (("--help",), ("runs", "--help"), ("runs", "ls", "--help"), ("models", "get", "--help"), ("watch", "--help")):
        check(f"{' '.join(words)}: names the exit codes" if words[0] == "--help" else f"{' '.join(words)}", tenon(*words)[0] != "")
    check("--version", tenon("--version")[0].startswith("tenon "))


with tempfile.TemporaryDirectory() as temporary:
    main(Path(temporary))
print(f"{len(FAILURES)} failed")
sys.exit(1 if FAILURES else 0)
