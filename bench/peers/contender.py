"""A configuration of Tenon or a peer, and how it is run: a process of its own in every round, or, on a GPU, one that serves
all rounds, since starting it anew and compiling it again would take longer than everything that is measured."""
import json
import os
import queue
import subprocess
import tempfile
import threading
import time

import report


class Contender:
    """`task` is (name, threads, isa); on a GPU isa is the device."""

    def __init__(self, task, peer, form, precision, command, environment):
        self.task, self.peer, self.form, self.precision = task, peer, form, precision
        self.command, self.environment = command, environment
        self.runs, self.out = [], False

    def label(self):
        return f"{report.NAMES[self.peer]}{' ' + self.form if self.form else ''}"

    def run(self, flags):
        """Lines that the program printed, or a reason why there are none."""
        try:
            done = subprocess.run(self.command, env={**os.environ, **self.environment}, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, check=False, timeout=flags.timeout)  # fmt: skip
        except OSError as error:
            return [], f"cannot run {self.command[0]}: {error.strerror}"
        except subprocess.TimeoutExpired:
            return [], f"not done after {flags.timeout} s"
        if done.returncode:
            return [], ended(done.returncode, done.stderr)
        return done.stdout.strip().splitlines(), None


def ended(status, stderr):
    lines = stderr.strip().splitlines() or ["no message"]
    return f"ended with {status}: {lines[-1][:160]}"


class Served(Contender):
    """Its program has --serve: it prints a line when it is warm, and for every number of steps on its input the JSON object."""

    process = None

    def start(self):
        self.errors = tempfile.TemporaryFile("w+")
        self.lines = queue.Queue()
        self.process = subprocess.Popen(self.command, env={**os.environ, **self.environment}, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True, bufsize=1)  # fmt: skip
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def next_object(self, seconds):
        """The next JSON line, or a reason why there is none. Others, which libraries print, are passed by."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                self.stop()
                return None, f"not done after {seconds:.0f} s"
            if line is None:
                status = self.process.wait()
                self.errors.seek(0)
                return None, ended(status, self.errors.read())
            if line.startswith("{"):
                return line, None

    def wait_until_warm(self, seconds):
        """A reason why it does not take part, or None."""
        line, why = self.next_object(seconds)
        return why if why else None if "ready" in json.loads(line) else f"expected to be ready, found {line[:80]}"

    def run(self, flags):
        try:
            self.process.stdin.write(f"{flags.steps}\n")
        except OSError:
            pass  # it has ended, and the next line says how
        line, why = self.next_object(flags.timeout)
        return ([line] if line else []), why

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.kill()
        self.process.wait()
