"""track_mlflow_stub.py MLFLOW_RUN: a stand-in for an MLflow server that fails on purpose, and keeps every point it is
given, twice if it is sent twice. Needs no package."""
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PROGRAM = sys.argv[1]


def check(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: expected {str(expected)[:400]}, found {str(found)[:400]}")


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, faults=(), artifact_uri="mlflow-artifacts:/0/r/artifacts"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.faults = dict(faults)  # path's end -> list of what happens to the next requests
        self.artifact_uri = artifact_uri
        self.points, self.params, self.tags, self.files, self.seen = [], {}, {}, {}, []
        self.runs, self.status, self.headers_seen = 0, "RUNNING", []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # a client that went away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def do(self):
        s = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        path = url.path.removeprefix("/api/2.0/")
        s.seen.append(path)
        s.headers_seen.append(dict(self.headers))
        fault = next((f.pop(0) for end, f in s.faults.items() if path.startswith(end) and f), None)
        if isinstance(fault, int):
            return self.answer(fault, {"error_code": "STUB", "message": "not\nnow"}, Retry_After="0")
        if fault == "garbage":
            return self.answer(200, b"<html>\n\x1b[31mhello")
        if fault == "redirect":
            return self.answer(302, b"", Location="file:///etc/hostname")
        if fault == "huge":
            return self.answer(200, b" " * (70 << 20))
        if fault == "drop":
            return self.hang_up()
        status, result = self.act(path, parse_qs(url.query), body)
        if fault == "lost":  # carried out, but nobody hears of it
            return self.hang_up()
        self.answer(status, result)

    do_GET = do_POST = do_PUT = do

    def act(self, path, query, body):
        s = self.server
        if path.startswith("mlflow-artifacts/artifacts/"):
            s.files[path] = body
            return 200, {}
        data = json.loads(body) if body else {}
        if path == "mlflow/experiments/get-by-name":
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
        if path == "mlflow/experiments/create":
            return 200, {"experiment_id": "0"}
        if path == "mlflow/runs/search":
            return 200, {"runs": [{"info": {"run_id": "r"}}] * min(s.runs, 1)}
        if path == "mlflow/runs/create":
            s.runs += 1
            return 200, {"run": {"info": {"run_id": "r"}}}
        if path == "mlflow/runs/get":
            info = {"run_id": "r", "artifact_uri": s.artifact_uri, "status": s.status, "lifecycle_stage": "active"}
            return 200, {"run": {"info": info, "data": {"params": [{"key": k, "value": v} for k, v in s.params.items()]}}}
        if path == "mlflow/runs/log-batch":
            counts = [len(data.get(k, [])) for k in ("metrics", "params", "tags")]
            if counts[0] > 1000 or counts[1] > 100 or counts[2] > 100 or sum(counts) > 1000 or len(body) >= 1_000_000:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "over the limits"}
            s.points += [(m["key"], m["step"], str(m["value"]), m["timestamp"]) for m in data.get("metrics", [])]
            s.params.update((p["key"], p["value"]) for p in data.get("params", []))
            s.tags.update((t["key"], t["value"]) for t in data.get("tags", []))
            return 200, {}
        if path == "mlflow/metrics/get-history":
            first = int(query.get("page_token", ["0"])[0])
            all_points = [p for p in s.points if p[0] == query["metric_key"][0]]
            page = all_points[first:first + 700]  # a server may give fewer than it is asked for
            answer = {"metrics": [{"key": k, "step": st, "value": float(v.replace("Infinity", "inf")) if v[-1] != "N" and
                                   "inf" not in v.lower() else v, "timestamp": t} for k, st, v, t in page]}
            if first + 700 < len(all_points):
                answer["next_page_token"] = str(first + 700)
            return 200, answer
        if path == "mlflow/runs/update":
            s.status = data["status"]
            return 200, {}
        return 404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}


def sync(folder, uri, expected=0, attempts=5, **environment):
    environment = {**os.environ, "TEST_ATTEMPTS": str(attempts), **environment}
    started = time.time()
    done = subprocess.run([PROGRAM, "sync", folder, uri], capture_output=True, text=True, timeout=60, env=environment)
    check(f"exit status ({done.stderr.strip()})", done.returncode, expected)
    if expected == 0:
        return json.loads(done.stdout)
    check("lines of the error", done.stderr.count("\n"), 1)
    check("control characters", [c for c in done.stderr[:-1] if ord(c) < 32], [])
    return done.stderr, time.time() - started


for name in list(os.environ):
    if name.startswith("MLFLOW_") or name.lower() in ("http_proxy", "all_proxy"):
        del os.environ[name]
with tempfile.TemporaryDirectory() as place:
    folder = subprocess.check_output([PROGRAM, "make", place], text=True).strip()
    record = Path(folder, "mlflow.json")

    # Every kind of failure that passes, at every kind of request; answers that are lost after the work was done.
    batch = [None, "lost", None, 503, "drop", "lost", 429, None, "lost", 500]
    stub = Stub({"mlflow/runs/create": ["lost"], "mlflow/runs/log-batch": batch, "mlflow/experiments": [502],
                 "mlflow/runs/get": ["drop"], "mlflow-artifacts": [503, "lost"], "mlflow/metrics": [500],
                 "mlflow/runs/update": ["lost"]})
    result = sync(folder, stub.uri)
    check("runs made", stub.runs, 1)
    check("points kept twice", [p for p, n in Counter(stub.points).items() if n > 1][:3], [])
    check("points", len(stub.points), 9375 * 2 + 1 + 7 + 1 + 1)
    check("values of one", [p[2] for p in stub.points if p[0].startswith("odd")][:3], ["NaN", "Infinity", "-Infinity"])
    check("files", sorted(len(f) for f in stub.files.values())[0::2], [0, 300_004])
    check("all faults met", [f for f in stub.faults.values() if f], [])
    check("status", stub.status, "FINISHED")
    asked = len(stub.seen)
    check("nothing again", {k: v for k, v in sync(folder, stub.uri).items() if k in ("metrics", "files", "tags")},
          {"metrics": 0, "files": 0, "tags": 0})
    check("requests when there is nothing to do", len(stub.seen) - asked, 1)

    # Killed in the middle by a server that stops, then gone on with: nothing twice, also without the record.
    for lose in (False, True):
        stub = Stub({"mlflow/runs/log-batch": [None] * 8 + ["lost", 500]})
        record.unlink(missing_ok=True)
        message, _ = sync(folder, stub.uri, expected=5, attempts=1)
        check("words: " + message, "after 1 attempt" in message, True)
        before = len(stub.points)
        if lose:
            record.unlink()
        stub.faults.clear()
        sync(folder, stub.uri)
        check("went on", 0 < before < len(stub.points), True)
        check("points kept twice", max(Counter(stub.points).values()), 1)
        check("points", len(stub.points), 18_760)

    # Failures that stay: one line, in time, with the server's words and without secrets.
    for fault, words in ((500, "status 500: STUB: not"), (400, "status 400: STUB: not"), (403, "status 403"),
                         ("garbage", "expected JSON"), ("redirect", "redirect"), ("drop", "after 2 attempts"),
                         ("huge", "after 2 attempts")):
        stub = Stub({"mlflow": [fault] * 9})
        record.unlink(missing_ok=True)
        uri = stub.uri.replace("http://", "http://me:hush%40@")
        message, seconds = sync(folder, uri, expected=5, attempts=2)
        check(f"{fault}: {message}", words in message, True)
        check("secret", "hush" in message, False)
        check("attempts", len(stub.seen), 1 if fault in (400, 403, "garbage", "redirect") else 2)
        check("time", seconds < 20, True)
    message, _ = sync(folder, "http://127.0.0.1:9", expected=5, attempts=2)
    check("no server: " + message, "after 2 attempts" in message, True)

    # Who we are.
    def authorization(uri, **environment):
        stub = Stub()
        record.unlink(missing_ok=True)
        sync(folder, uri(stub.uri), **environment)
        check("secret in the record", "hush" in record.read_text(), False)
        return {h.get("Authorization") for h in stub.headers_seen}
    check("none", authorization(lambda u: u), {None})
    check("token", authorization(lambda u: u, MLFLOW_TRACKING_TOKEN="hush"), {"Bearer hush"})
    basic = {"Basic bWU6aHVzaEA="}
    check("URI", authorization(lambda u: u.replace("//", "//me:hush%40@")), basic)
    check("variables", authorization(lambda u: u, MLFLOW_TRACKING_USERNAME="me", MLFLOW_TRACKING_PASSWORD="hush@"), basic)

    # Files go nowhere that the server names.
    for uri in (f"file://{place}/elsewhere", f"{place}/elsewhere", "s3://bucket/x"):
        stub = Stub(artifact_uri=uri)
        record.unlink(missing_ok=True)
        check("files", sync(folder, stub.uri)["files"], 0)
        check("a folder", Path(place, "elsewhere").exists(), False)
    stub = Stub(artifact_uri="mlflow-artifacts://127.0.0.1:1/x")
    record.unlink(missing_ok=True)
    message, _ = sync(folder, stub.uri, expected=5)
    check(message, "names 127.0.0.1:1" in message, True)
print("1 passed, 0 failed")
