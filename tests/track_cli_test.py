#!/usr/bin/env python3
"""The program `tenon` as a user meets it: lists, JSON, CSV, the live view, errors, and names that a terminal would obey.

Usage: track_cli_test.py TENON CLI_RUNS, the second being the program that makes the runs.
"""
import csv
import io
import json
import os
import pty
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TENON, MAKER = (str(Path(p).resolve()) for p in sys.argv[1:3])
FAILURES = []
# Controls but for the newline, DEL, C1, marks of direction: what no output may have as it is.
LIVE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if k not in ("TENON_RUNS", "TENON_MODELS", "NO_COLOR") and
            not k.startswith("MLFLOW_") and k.lower() not in ("http_proxy", "all_proxy")}
    return {**kept, "TERM": "xterm", **more}


def tenon(*words, cwd=None, stdin=""):
    return subprocess.run([TENON, *map(str, words)], capture_output=True, timeout=60, cwd=cwd, env=environment(),
                          input=stdin.encode())


def text(result):
    return result.stdout.decode("utf-8", "surrogateescape")


def on_terminal(*words, env=None):
    """What the program writes to a terminal, and its exit code."""
    main, side = pty.openpty()
    process = subprocess.Popen([TENON, *map(str, words)], stdin=side, stdout=side, stderr=side,
                               env=environment(**(env or {})))
    os.close(side)
    out = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        out += piece
    os.close(main)
    return out.decode("utf-8", "surrogateescape").replace("\r\n", "\n"), process.wait(timeout=60)


def check(what, condition, *more):
    print(f"{'ok  ' if condition else 'FAIL'} {what}")
    if not condition:
        FAILURES.append(what)
        print(*(repr(m)[:2000] for m in more), sep="\n")


def expect(what, result, code, message):
    """The exit code, and one line of error that is no more than that."""
    error = result.stderr.decode("utf-8", "surrogateescape")
    check(f"{what}: status {code}", result.returncode == code, result.returncode, error)
    check(f"{what}: one line", error.startswith("tenon: [") and error.count("\n") == 1 and not LIVE.search(error)
          and re.search(message, error), error)


def made(kind, root):
    folder = subprocess.run([MAKER, kind, str(root)], capture_output=True, text=True, check=True, timeout=60).stdout
    return Path(folder.strip())


def fine(what, result):
    check(f"{what}: status 0, no error", result.returncode == 0 and not result.stderr, result.returncode, result.stderr)
    return text(result)


def help_and_errors(root):
    commands = [("runs", c) for c in ("ls", "show", "diff", "metrics", "files", "sync", "rm")]
    commands += [("models", c) for c in ("ls", "show", "register", "get", "alias")] + [("watch",), ("runs",), ("models",), ()]
    for command in commands:
        out = fine(f"{' '.join(command)} --help", tenon(*command, "--help"))
        check(f"{' '.join(command)} --help: exit codes and flags", "Exit codes: 0 done, 2 wrong usage, 5" in out and
              "--help" in out, out)
    check("--version", re.fullmatch(r"tenon \d+\.\d+\.\d+\n", fine("--version", tenon("--version"))))
    expect("no command", tenon(), 2, "expected one of runs, models, watch, found none")
    expect("runs alone", tenon("runs"), 2, "expected one of ls, .*, rm, found none; see tenon runs --help")
    expect("unknown command", tenon("dance"), 2, "found dance")
    expect("unknown flag", tenon("runs", "ls", "--bogus\x1b[31m"), 2, r"found --bogus\\x1B")
    expect("no run named", tenon("runs", "show"), 2, "expected RUN")
    expect("two formats", tenon("runs", "ls", "--json", "--csv"), 2, "--json and --csv")
    expect("no such run", tenon("runs", "show", "2001\n\u202e", "--root", root), 2, r"is no run under")
    expect("no such run, not UTF-8", tenon("watch", b"\xff\x9b".decode("utf-8", "surrogateescape"), "--root", root), 2,
           r"\\xFF")
    expect("no such model", tenon("models", "show", "none", "--root", root), 2, "no model 'none'")
    with open("/dev/full", "wb") as full:
        result = subprocess.run([TENON, "runs", "ls", "--root", str(root)], stdout=full, stderr=subprocess.PIPE,
                                env=environment(), timeout=60)
    result.stdout = b""
    expect("a full disk", result, 5, r"\[stdout\] cannot write")
    check("no runs", json.loads(fine("no runs", tenon("runs", "ls", "--json", "--root", root / "nowhere"))) == [])


def runs(root, done, other, failed):
    listed = fine("runs ls", tenon("runs", "ls", "--root", root)).splitlines()
    check("runs ls: newest first, one a line", [line.split()[0] for line in listed[1:]] ==
          [f.name for f in (failed, other, done)], listed)
    check("runs ls: status and values", "failed" in listed[1] and "completed" in listed[2] and "accuracy 0.75" in listed[2],
          listed)
    check("runs ls: no colours in a pipe", "\x1b" not in "".join(listed))
    check("runs ls -n 1", len(fine("runs ls -n", tenon("runs", "ls", "-n", 1, "--root", root)).splitlines()) == 2)
    check("runs ls --experiment", json.loads(text(tenon("runs", "ls", "--experiment", "x", "--json", "--root", root))) == [])
    by_variable = subprocess.run([TENON, "runs", "ls", "--json"], capture_output=True,
                                 env=environment(TENON_RUNS=str(root)), timeout=60)
    document = json.loads(fine("runs ls --json by TENON_RUNS", by_variable))
    check("runs ls --json: content", [r["id"] for r in document] == [failed.name, other.name, done.name] and
          document[0]["reason"] == "loss is not finite" and document[1]["last"] == {"loss": 0.025, "accuracy": 0.75} and
          document[2]["params"]["lr"] == "0.1", document)
    rows = list(csv.DictReader(io.StringIO(fine("runs ls --csv", tenon("runs", "ls", "--csv", "--root", root)))))
    check("runs ls --csv: content", [(r["id"], r["param:lr"], r["metric:accuracy"]) for r in rows] ==
          [(failed.name, "0.1", "0.5"), (other.name, "0.2", "0.75"), (done.name, "0.1", "0.5")], rows)

    shown = fine("runs show", tenon("runs", "show", done))
    check("runs show: facts", all(re.search(pattern, shown) for pattern in (
        r"run +status +completed", r"param +lr +0\.1", r"environment +device +cpu: a processor",
        r"metric +loss +0\.025 \(100 values\)", r"file +outputs/weights\.safetensors +15 B")), shown)
    whole = json.loads(fine("runs show --json", tenon("runs", "show", done.name, "--json", "--root", root)))
    check("runs show --json: content", whole["metrics"][0] == {"name": "loss", "values": 100, "last": 0.025, "least": 0.025,
                                                             "most": 2.5} and len(whole["command_line"]) == 3, whole)

    summary = fine("runs metrics", tenon("runs", "metrics", done.name, "--root", root)).splitlines()
    check("runs metrics: a row a metric", summary[1].split() == ["loss", "100", "2.5", "0.025", "0.025", "2.5"], summary)
    points = json.loads(fine("runs metrics --json", tenon("runs", "metrics", done.name, "loss", "--json", "--root", root)))
    check("runs metrics --json: every value, every bit", [(p["step"], p["value"]) for p in points[0]["points"]] ==
          [(i, 2.5 / (i + 1)) for i in range(100)] and len(points) == 1)
    rows = list(csv.DictReader(io.StringIO(text(tenon("runs", "metrics", done.name, "--csv", "--root", root)))))
    check("runs metrics --csv: every value", len(rows) == 101 and float(rows[2]["value"]) == 2.5 / 3 and
          re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[0]["time"]), rows[:3])
    expect("runs metrics of another name", tenon("runs", "metrics", done.name, "los", "--root", root), 2, "loss, accuracy")

    files = json.loads(fine("runs files --json", tenon("runs", "files", done.name, "--json", "--root", root)))
    digest = subprocess.run(["sha256sum", done / "outputs/weights.safetensors"], capture_output=True, text=True).stdout.split()[0]
    check("runs files --json: digest", files == [{"name": "outputs/weights.safetensors", "bytes": 15, "sha256": digest}], files)

    table = fine("runs diff", tenon("runs", "diff", done.name, other.name, "--root", root)).splitlines()
    check("runs diff: only what differs", [line.split() for line in table[1:]] ==
          [["param", "lr", "0.1", "0.2"], ["metric", "accuracy", "0.5", "0.75"]], table)
    document = json.loads(text(tenon("runs", "diff", done.name, other.name, "--all", "--json", "--root", root)))
    by_name = {d["name"]: d for d in document["differences"]}
    check("runs diff --all --json", by_name["loss"]["same"] and by_name["accuracy"]["a"] == 0.5 and
          by_name["accuracy"]["b"] == 0.75 and not by_name["lr"]["same"] and by_name["epochs"]["same"], document)


def models(root, done, other):
    def line(*words):
        return fine(f"models {' '.join(map(str, words[:3]))}", tenon("models", *words, "--root", root))

    check("models ls: none yet", json.loads(line("ls", "--json")) == [])
    check("models register: name, id, version", line("register", "net one", "weights.safetensors", "--run", done.name) ==
          "net one\tnet one:1\t1\n")
    check("models register: by path", line("register", "net one", other / "outputs/weights.safetensors", "--run",
                                           other.name) == "net one\tnet one:2\t2\n")
    foreign = tenon("models", "register", "net one", done / "run.json", "--run", done.name, "--root", root)
    expect("models register: no file of the run", foreign, 2, "found.*its files: outputs/weights.safetensors")
    check("models alias", line("alias", "net one", "production", 1) == "")
    path = line("get", "net one", "production").strip()
    check("models get: path of the alias", Path(path).read_text() == "weights of done" and
          Path(path).resolve().is_relative_to(root.parent.resolve() / "models"), path)
    check("models get: the newest", Path(line("get", "net one").strip()).read_text() == "weights of other")
    copy = root / "copy"
    check("models get --to", line("get", "net one", 1, "--to", copy).strip() == str(copy) and
          copy.read_text() == "weights of done")
    Path(path).write_text("tampered")
    expect("models get --to of a changed file", tenon("models", "get", "net one", 1, "--to", copy, "--root", root), 5,
           "SHA-256")
    check("models get --to: what was there stays", copy.read_text() == "weights of done")
    versions = json.loads(line("show", "net one", "--json"))
    check("models show --json", [(v["version"], v["aliases"], v["run"]) for v in versions] ==
          [(1, ["production"], done.name), (2, [], other.name)] and versions[1]["metrics"]["accuracy"] == 0.75, versions)
    check("models ls: the newest version", re.search(r"net one +2 ", line("ls")))
    rows = list(csv.DictReader(io.StringIO(line("show", "net one", "--csv"))))
    check("models show --csv", [(r["version"], r["bytes"]) for r in rows] == [("1", "15"), ("2", "16")], rows)
    expect("models alias without a version", tenon("models", "alias", "net one", "x", "--root", root), 2, "--remove")
    line("alias", "net one", "production", "--remove")
    expect("models get of an alias that is gone", tenon("models", "get", "net one", "production", "--root", root), 2,
           "no version 'production'")


def odd_names(root):
    odd = made("odd", root)
    shown = text(tenon("runs", "show", odd.name, "--root", root))
    check("odd names: spelled out", all(s in shown for s in (r"\x1B[31mred\nline", r"=1+1 \u202E", r"\x9B31m \u009B", r"@sum\xFF")),
          shown)
    for words in (("runs", "ls"), ("runs", "show", odd.name), ("runs", "metrics", odd.name), ("runs", "files", odd.name),
                  ("watch", odd.name, "--once")):
        out = fine(f"odd names: {' '.join(words[:2])}", tenon(*words, "--root", root))
        check(f"odd names: {' '.join(words[:2])} obeys nothing", not LIVE.search(out), out)
        for format in ("", "--csv", "--json"):
            if words[0] == "watch" and format:
                continue
            seen, _ = on_terminal(*words, "--root", root, *format.split(), env={"NO_COLOR": "1"})
            rest = re.sub(r"\x1b\[[KJ]", "", seen)  # our own, of the live view
            check(f"odd names: {' '.join(words[:2])} {format} on a terminal", not LIVE.search(rest), seen)
    document = json.loads(text(tenon("runs", "show", odd.name, "--json", "--root", root)))
    check("odd names: JSON has them whole", document["name"] == "\x1b[31mred\nline" and document["experiment"] == "=1+1 \u202e"
          and document["last"]["@sum\U0010ffff"] == -1.5, document)
    points = json.loads(text(tenon("runs", "metrics", odd.name, "--json", "--root", root)))
    check("odd names: NaN and infinities are strings", [p["value"] for p in points[2]["points"]] ==
          ["NaN", "Infinity", "-Infinity", -1.5], points[2:])
    rows = list(csv.reader(io.StringIO(text(tenon("runs", "ls", "--csv", "--root", root)))))
    check("odd names: CSV has no formula", rows[1][2] == "'=1+1 \u202e" and rows[1][-1] == "-1.5", rows[:2])
    rows = list(csv.reader(io.StringIO(text(tenon("runs", "metrics", odd.name, "--csv", "--root", root)))))
    check("odd names: nor as a metric", rows[-1][0] == "'@sum\udcff" and [r[2] for r in rows[-4:]] ==
          ["NaN", "Infinity", "-Infinity", "-1.5"], rows[-4:])


def colours(root):
    plain, _ = on_terminal("runs", "ls", "--root", root, env={"NO_COLOR": "1"})
    coloured, _ = on_terminal("runs", "ls", "--root", root)
    check("colours on a terminal", "\x1b[31mfailed" in coloured and "\x1b[32mcompleted" in coloured, coloured)
    check("NO_COLOR", "\x1b" not in plain, plain)
    check("colours change nothing else", re.sub(r"\x1b\[\d+m", "", coloured) == plain)


def watching(root, done, failed):
    result = tenon("watch", done.name, "--root", root)
    check("watch: a run that ended is one line", re.fullmatch(
        r"\S+ \S+  completed  epoch 2/2  step 100/100 100\.00%  loss 0\.025  accuracy 0\.5.*\n",
        fine("watch", result)), result.stdout)
    check("watch: status 1 for a failed one", tenon("watch", failed.name, "--root", root).returncode == 1)
    check("watch --once: status 0", b"failed (loss is not finite)" in tenon("watch", failed.name, "--once", "--root", root).stdout)

    run = subprocess.Popen([MAKER, "live", str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    folder = Path(run.stdout.readline().strip())
    seen = tenon("watch", folder, "--once")
    check("watch --once of a running one", b"running  epoch 2/2  step 64/100" in seen.stdout, seen.stdout)
    expect("runs rm of a running one", tenon("runs", "rm", folder, "--yes"), 2, "found .* running")
    watch = subprocess.Popen([TENON, "watch", str(folder)], stdout=subprocess.PIPE, text=True, env=environment())
    main, side = pty.openpty()
    view = subprocess.Popen([TENON, "watch", str(folder)], stdout=side, env=environment())
    os.close(side)
    first = watch.stdout.readline()
    time.sleep(1)
    run.stdin.write("\n")
    run.stdin.flush()
    time.sleep(1)
    run.stdin.close()
    rest = watch.stdout.read().splitlines()
    check("watch: a line for every change, to the end", "step 64/100" in first and 1 <= len(rest) <= 3 and
          "completed" in rest[-1] and "step 100/100" in rest[-1] and watch.wait(timeout=20) == 0, first, rest)
    out = b""
    while True:
        try:
            out += os.read(main, 65536)
        except OSError:
            break
    out = out.decode()
    check("watch: in place on a terminal", view.wait(timeout=20) == 0 and 5 <= len(re.findall(r"\x1b\[\d+A", out)) <= 30, out)
    last = re.split(r"\x1b\[\d+A", out)[-1]
    check("watch: bar, line of blocks, device", "━" * 30 in last and "█" in last and "▁" in last and "step 100/100" in last
          and "cpu: a processor" in last and "completed" in last, last)
    check("watch: ETA while it runs", re.search(r"\d steps/s  ETA \d", out), out)
    run.wait(timeout=20)


def syncing(root, done):
    """What tests/python/track_mlflow.py, which has a server, does not see."""
    def refused(what, code, message, *words):
        result = tenon("runs", "sync", *words, "--root", root)
        expect(f"runs sync: {what}", result, code, message)
        check(f"runs sync: {what}: nothing was kept", not (done / "mlflow.json").exists())
        return result

    refused("no server", 2, "expected --mlflow-uri or MLFLOW_TRACKING_URI", done.name)
    refused("no such run", 2, "'nothing' is no run under", "nothing", "--mlflow-uri", "http://127.0.0.1:9")
    refused("no run", 2, "expected RUN", "--mlflow-uri", "http://127.0.0.1:9")
    refused("a model without a file", 2, "--register and --file together, found only --register", done.name, "--mlflow-uri",
            "http://127.0.0.1:9", "--register", "net")
    refused("an alias of nothing", 2, "expected --register", done.name, "--mlflow-uri", "http://127.0.0.1:9", "--alias", "x")
    if "libcurl" in refused("no http", 2, "expected", done.name, "--mlflow-uri", "mlruns").stderr.decode():
        return  # a build that knows no servers
    refused("an odd URI", 2, "expected a server such as http://host:5000", done.name, "--mlflow-uri", "ftp://x")
    refused("no such file", 2, "found 'none'; its files: outputs/weights.safetensors", done.name, "--mlflow-uri",
            "http://127.0.0.1:9", "--register", "net", "--file", "none")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        started = time.time()
        refused("a server that does not answer", 5, uri + r": .*\(after 2 attempts\)", done.name, "--mlflow-uri", uri,
                "--attempts", 2)
        check("runs sync: an error in time", time.time() - started < 20)
        by_variable = subprocess.run([TENON, "runs", "sync", str(done), "--attempts", "1"], capture_output=True,
                                     env=environment(MLFLOW_TRACKING_URI=uri), timeout=60)
        expect("runs sync: the server by MLFLOW_TRACKING_URI", by_variable, 5, uri)


def removing(root, done, other):
    expect("runs rm without a terminal", tenon("runs", "rm", done.name, "--root", root), 2, "expected --yes")
    expect("runs rm of one that is not", tenon("runs", "rm", done.name, "nothing", "--yes", "--root", root), 2, "nothing")
    check("runs rm: all or none", done.exists())
    main, side = pty.openpty()
    os.write(main, b"n\n")
    asked = subprocess.run([TENON, "runs", "rm", done.name, "--root", str(root)], stdin=side, capture_output=True,
                           env=environment(), timeout=60)
    check("runs rm: asks, and no is no", asked.returncode == 1 and done.exists() and b"Remove 1 run" in asked.stderr, asked)
    os.write(main, b"y\n")
    asked = subprocess.run([TENON, "runs", "rm", done.name, "--root", str(root)], stdin=side, capture_output=True,
                           env=environment(), timeout=60)
    check("runs rm: yes", asked.returncode == 0 and not done.exists(), asked)
    twice = fine("runs rm --yes", tenon("runs", "rm", other.name, ".", "--yes", "--root", root, cwd=other))
    check("runs rm --yes: once, however it is named", twice == f"Removed {other.name}\n", twice)
    check("runs rm --yes: gone", not other.exists())


def main():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        done, other, failed = made("done", root), None, None
        time.sleep(0.01)  # the order of the list is that of the milliseconds
        other = made("other", root)
        time.sleep(0.01)
        failed = made("failed", root)
        help_and_errors(root)
        runs(root, done, other, failed)
        models(root, done, other)
        colours(root)
        watching(root, done, failed)
        odd_names(root)
        syncing(root, done)
        removing(root, done, other)
    print(f"{len(FAILURES)} failures")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
