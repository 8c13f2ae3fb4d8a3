"""Starts `mlflow server`, sends runs to it, and reads them back with MLflow's own client.

usage: track_mlflow.py MLFLOW_RUN [TENON], the second being the program `tenon`
"""
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from needs import give_up

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", GIT_PYTHON_REFRESH="quiet")
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
    os.environ.pop(name, None)
for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    os.environ.pop(name, None)

try:
    import flask  # noqa: F401  (what mlflow-skinny alone lacks)
    import mlflow.server  # noqa: F401
    import sqlalchemy  # noqa: F401
    from mlflow.tracking import MlflowClient
except ImportError as error:
    give_up(error)

PROGRAM, TENON = sys.argv[1], (sys.argv + [None])[2]
LARGEST = sys.float_info.max


def check(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: expected {str(expected)[:400]}, found {str(found)[:400]}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """`mlflow server` in a folder of its own, ended with its workers."""

    def __init__(self, folder):
        self.uri = f"http://127.0.0.1:{free_port()}"
        self.log = open(Path(folder) / "server.log", "wb")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", self.uri.rsplit(":", 1)[1],
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                   "--artifacts-destination", f"{folder}/artifacts"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder, start_new_session=True)

    def __enter__(self):
        end = time.time() + 120
        while time.time() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.uri + "/health", timeout=2) as answer:
                    if answer.status == 200:
                        return self
            except OSError:
                time.sleep(0.2)
        text = Path(self.log.name).read_text(errors="replace")[-2000:]
        self.__exit__()
        sys.exit(f"mlflow server does not answer:\n{text}")

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


def sync(folder, uri, *model, expected=0):
    done = subprocess.run([PROGRAM, "sync", folder, uri, *model], capture_output=True, text=True, timeout=120)
    check(f"exit status of sync ({done.stderr.strip()})", done.returncode, expected)
    return json.loads(done.stdout) if expected == 0 else done.stderr


def number(value):
    return float(value.replace("Infinity", "inf")) if isinstance(value, str) else float(value)


def logged(folder):
    """Points by metric, straight from the log: (step, value, time)."""
    points = {}
    for line in Path(folder, "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "value" in entry:
            points.setdefault(entry["name"], []).append((entry["step"], number(entry["value"]), entry["t"]))
        if "values" in entry:
            for i, value in enumerate(entry["values"]):
                points.setdefault(entry["name"], []).append((entry["step"] + i, number(value), entry["t"]))
    return points


def comparable(points):
    """Sorted; MLflow's SQL store has no infinities, and NaN is not equal to itself."""
    out = []
    for step, value, when in points:
        value = "NaN" if math.isnan(value) else str(max(-LARGEST, min(LARGEST, value)) + 0.0)
        out.append((step, value, when))
    return sorted(out)


def compare(client, run_id, folder):
    tags = client.get_run(run_id).data.tags
    names = {tags.get(f"tenon.name.{key}", key): key for key in client.get_run(run_id).data.metrics}
    expected = logged(folder)
    check("names of metrics", sorted(names), sorted(expected))
    for name, points in expected.items():
        found = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, names[name])]
        check(f"points of {name!r}", len(found), len(points))
        check(f"points of {name!r}", comparable(found), comparable(points))
    return sum(len(points) for points in expected.values())


def everything(server, client, root):
    folder = subprocess.check_output([PROGRAM, "make", root], text=True).strip()
    started = time.time()
    first = sync(folder, server.uri, "mnist-cnn", "model 1%2f.bin", "best")
    print(f"{first['metrics']} points in {first['requests']} requests, {time.time() - started:.2f} s")
    check("points sent", compare(client, first["run_id"], folder), first["metrics"])
    run = client.get_run(first["run_id"])
    about = json.loads(Path(folder, "run.json").read_text())
    last = json.loads(Path(folder, "log.jsonl").read_text().splitlines()[-1])
    check("experiment", client.get_experiment(run.info.experiment_id).name, "digits é/1")
    check("status", run.info.status, "FINISHED")
    check("name", run.info.run_name, "all kinds")
    check("start and end", (run.info.start_time, run.info.end_time), (about["started"], last["t"]))
    params = {run.data.tags.get(f"tenon.name.{key}", key): value for key, value in run.data.params.items()}
    check("parameters", params, {"lr": "0.001", "a/../b": "refused as it is", "empty": "", "odd \U0010ffff": "\U0010ffff",
                                 "long": "x" * 5997 + "..."})
    check("tag", run.data.tags["purpose"], "a <b>test</b>\nof lines")
    check("id", run.data.tags["tenon.run_id"], Path(folder).name)
    if "revision" in about:
        check("revision", run.data.tags["mlflow.source.git.commit"], about["revision"])

    # Files, byte for byte.
    def files_of(path=None):
        for entry in client.list_artifacts(first["run_id"], path):
            if entry.is_dir:
                yield from files_of(entry.path)
            else:
                yield entry.path
    found = sorted(Path(client.download_artifacts(first["run_id"], path, root)).read_bytes() for path in files_of())
    ours = [p for sub in ("outputs", "images") for p in Path(folder, sub).rglob("*") if p.is_file()]
    check("files", found, sorted(p.read_bytes() for p in ours))

    version = client.get_model_version_by_alias("mnist-cnn", "best")
    check("version", (version.version, first["model_version"]), ("1", "1") if isinstance(version.version, str) else (1, "1"))
    check("run of the model", version.run_id, first["run_id"])
    file = next(path for path in files_of() if path.startswith("outputs/model"))
    check("source", version.source, f"{run.info.artifact_uri}/{file}")

    again = sync(folder, server.uri, "mnist-cnn", "model 1%2f.bin", "best")
    check("second sync", {k: again[k] for k in ("metrics", "params", "tags", "files", "model_version")},
          {"metrics": 0, "params": 0, "tags": 0, "files": 0, "model_version": "1"})
    # Without the record the server is asked: the same run, nothing twice.
    Path(folder, "mlflow.json").unlink()
    lost = sync(folder, server.uri, "mnist-cnn", "model 1%2f.bin", "best")
    check("after the loss of mlflow.json", (lost["run_id"], lost["metrics"], lost["params"], lost["model_version"]),
          (first["run_id"], 0, 0, "1"))
    compare(client, first["run_id"], folder)
    check("versions", len(client.search_model_versions("name='mnist-cnn'")), 1)
    message = sync(folder, server.uri, "mnist-cnn", "none.bin", "best", expected=2)
    check("error names the files", "outputs/empty.txt" in message and message.count("\n") == 1, True)
    message = sync(folder, server.uri, "bad/name", "empty.txt", "best", expected=5)
    check("the server's words: " + message, "INVALID_PARAMETER_VALUE" in message and message.count("\n") == 1, True)


def killed(server, client, root):
    """SIGKILL at random moments, then one whole sync: every point once."""
    folder = subprocess.check_output([PROGRAM, "make", root], text=True).strip()
    generator = random.Random(7)
    cut_short = 0
    for _ in range(12):
        process = subprocess.Popen([PROGRAM, "sync", folder, server.uri], stdout=subprocess.DEVNULL)
        time.sleep(generator.uniform(0.02, 0.6))
        process.kill()
        cut_short += process.wait() != 0
    if cut_short < 3:
        sys.exit(f"only {cut_short} of 12 syncs were cut short: the test shows nothing")
    last = sync(folder, server.uri)
    compare(client, last["run_id"], folder)
    runs = client.search_runs([last["experiment_id"]], f"tags.`tenon.run_id` = '{Path(folder).name}'")
    check("runs", len(runs), 1)
    check("status", runs[0].info.status, "FINISHED")
    print(f"{cut_short} syncs cut short")


def live(server, client, root):
    lines = subprocess.check_output([PROGRAM, "live", root, server.uri], text=True).splitlines()
    results = [json.loads(line) for line in lines[1:]]
    check("points of each call", [r["metrics"] for r in results], [100, 100, 100, 0])
    compare(client, results[0]["run_id"], lines[0])
    run = client.get_run(results[0]["run_id"])
    check("end", (run.info.status, run.data.tags["tenon.reason"]), ("FAILED", "out of luck"))


def by_the_program(server, client, root):
    """`tenon runs sync` sends the same, once."""
    if not TENON:
        print("tenon was not built: its sync is not tested")
        return
    folder = subprocess.check_output([PROGRAM, "make", root], text=True).strip()

    def tenon(*words):
        command = [TENON, "runs", "sync", Path(folder).name, "--root", root, "--mlflow-uri", server.uri, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        check(f"exit status and errors of {words}", (done.returncode, done.stderr), (0, ""))
        return done.stdout

    first = json.loads(tenon("--json"))
    check("points by the program", compare(client, first["mlflow_run"], folder), first["values"])
    check("parameters, files, model", (first["params"], first["files"], first["model_version"]), (5, 3, None))
    check("again", tenon(), f"Sent 0 values, 0 params, 0 tags, 0 files of {Path(folder).name} to MLflow run "
                            f"{first['mlflow_run']}\n")
    again = sync(folder, server.uri)
    check("again by the library", (again["run_id"], again["metrics"], again["files"]), (first["mlflow_run"], 0, 0))
    registered = json.loads(tenon("--json", "--register", "by tenon", "--file", "model 1%2f.bin", "--alias", "best"))
    check("nothing but the model", {k: registered[k] for k in ("values", "params", "files", "model_version")},
          {"values": 0, "params": 0, "files": 0, "model_version": "1"})
    check("run of the model", client.get_model_version_by_alias("by tenon", "best").run_id, first["mlflow_run"])
    line = tenon("--csv", "--register", "by tenon", "--file", "model 1%2f.bin").splitlines()[1]
    check("the same version again", (line.split(",")[2], line.split(",")[-1]), ("0", "1"))
    check("versions", len(client.search_model_versions("name='by tenon'")), 1)


with tempfile.TemporaryDirectory() as place:
    begun = time.time()
    with Server(place) as server:
        print(f"server up after {time.time() - begun:.1f} s")
        client = MlflowClient(server.uri, server.uri)
        for part in (everything, by_the_program, killed, live):
            part(server, client, tempfile.mkdtemp(dir=place))
    print(f"mlflow {mlflow.__version__}: everything as logged, {time.time() - begun:.1f} s")
