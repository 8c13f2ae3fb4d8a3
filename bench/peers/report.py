"""The comparison as a Markdown table, a JSON file and an SVG chart."""
import datetime
import html
import json
import os
from pathlib import Path
from statistics import median

import harness

NAMES = {
    "tenon": "Tenon",
    "torch": "PyTorch",
    "keras-tf": "Keras/TensorFlow",
    "keras-jax": "Keras/JAX",
    "onnxruntime": "ONNX Runtime",
    "onednn": "oneDNN",
}
MARK = "<!-- {} -->"


def machine():
    name = "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {len(os.sched_getaffinity(0))} processors"


def task_words(task):
    """cnn-infer-500 on 2 threads -> CNN, prediction, batch 500, 2 threads"""
    name, threads, isa = task
    model, _, batch = name.partition("-infer-")
    what = f"prediction, batch {batch}" if batch else f"training step, batch {harness.BATCH[model]}"
    return f"{model.upper()}, {what}, {threads} thread{'s' * (threads > 1)}{', ' + isa if isa != 'native' else ''}"


def time_words(ms):
    return f"{1e3 * ms:.1f} µs" if ms < 0.1 else f"{ms:.3f} ms" if ms < 10 else f"{ms:.1f} ms"


def model_rows(contenders, rounds):
    """One row a contender that ran: task by task, Tenon first, then by time. The fastest of a peer at a precision is marked."""
    rows = []
    for c in contenders:
        if not c.runs:
            continue
        steps = [r["median_ms"] for r in c.runs]
        rows.append({
            "task": c.task, "peer": c.peer, "form": c.form, "label": c.label(), "precision": c.precision,
            "rounds": len(steps), "median_ms": median(steps), "least_ms": min(steps), "most_ms": max(steps),
            "best_step_ms": min(r["min_ms"] for r in c.runs), "batch": c.runs[0]["batch"],
            "banner": c.runs[0]["banner"], "runs": c.runs,
        })  # fmt: skip
    for row in rows:
        # What a peer computes in bf16 is measured by Tenon's bf16, where this processor has it.
        own = [r for r in rows if r["task"] == row["task"] and r["peer"] == "tenon"]
        alike = [r for r in own if r["precision"] == row["precision"] and row["peer"] != "tenon"]
        tenon = (alike or own)[0]
        row["times_tenon"] = row["median_ms"] / tenon["median_ms"]
        same = [r for r in rows if (r["task"], r["peer"], r["precision"]) == (row["task"], row["peer"], row["precision"])]
        same = [r for r in same if r["rounds"] == rounds]
        row["fastest"] = bool(same) and row is min(same, key=lambda r: r["median_ms"])
    order = list(dict.fromkeys(row["task"] for row in rows))
    rows.sort(key=lambda r: (order.index(r["task"]), r["peer"] != "tenon", r["median_ms"]))
    return rows


def model_table(rows, rounds):
    text = "| | | median | range | images/s | time / Tenon's |\n| --- | --- | ---: | ---: | ---: | ---: |\n"
    last = None
    for r in rows:
        once = f" ({r['rounds']} of {rounds} rounds)" if r["rounds"] != rounds else ""
        label = f"**{r['label']}**" if r["peer"] == "tenon" else r["label"]
        text += (
            f"| {task_words(r['task']) if r['task'] != last else ''} | {label}{once} | {time_words(r['median_ms'])} | "
            f"{time_words(r['least_ms'])} to {time_words(r['most_ms'])} | {1e3 * r['batch'] / r['median_ms']:.0f} | "
            f"{r['times_tenon']:.2f} |\n"
        )
        last = r["task"]
    return text


def kernel_rows(contenders):
    """One row a kernel: Tenon's time and oneDNN's in each format, medians over the rounds."""
    rows = []
    for tenon in (c for c in contenders if c.peer == "tenon"):
        rivals = [c for c in contenders if c.peer == "onednn" and c.task == tenon.task and c.runs]
        for name, first in tenon.runs[0].items():
            row = {"task": tenon.task, "name": name, "provider": first["by"], "formats": {}}
            for c in (tenon, *rivals):
                times = [run[name]["ms"] for run in c.runs if name in run]
                if not times:
                    continue
                cell = {"median_ms": median(times), "least_ms": min(times), "most_ms": max(times),
                        "by": c.runs[0][name]["by"]}  # fmt: skip
                if c is tenon:
                    row.update(cell)
                    row["gflops"] = first["gflops"] * first["ms"] / row["median_ms"]
                else:
                    row["formats"][c.form] = cell
            if row["formats"]:
                row["rival"] = min(row["formats"], key=lambda f: row["formats"][f]["median_ms"])
                row["rival_ms"] = row["formats"][row["rival"]]["median_ms"]
                row["times_tenon"] = row["rival_ms"] / row["median_ms"]
            rows.append(row)
    return rows


def kernel_table(rows):
    text = ""
    for task in dict.fromkeys(r["task"] for r in rows):
        part = [r for r in rows if r["task"] == task]
        text += f"{task[1]} thread{'s' * (task[1] > 1)}{', ' + task[2] if task[2] != 'native' else ''}:\n\n"
        text += "| operation | Tenon | range | GFLOP/s | oneDNN | range | its format and kernel | time / Tenon's |\n"
        text += "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |\n"
        for r in part:
            text += (f"| {r['name']} | {time_words(r['median_ms'])} | {time_words(r['least_ms'])} to "
                     f"{time_words(r['most_ms'])} | {r['gflops']:.0f} |")  # fmt: skip
            if r["formats"]:
                o = r["formats"][r["rival"]]
                text += (f" {time_words(r['rival_ms'])} | {time_words(o['least_ms'])} to {time_words(o['most_ms'])} | "
                         f"{r['rival']}, {o['by']} | {r['times_tenon']:.2f} |\n")  # fmt: skip
            else:
                text += " | | | |\n"
        ratios = [r["times_tenon"] for r in part if r["formats"]]
        if ratios:
            text += f"\nMedian of the last column over {len(ratios)} kernels: {median(ratios):.2f}.\n\n"
    return text.rstrip("\n") + "\n"


# --- Chart ----------------------------------------------------------------------------------------------------------

WIDTH, RIGHT, BAR, GAP = 860, 110, 16, 7
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .head { font-weight: 600; }
  .small { font-size: 11px; fill: #59636e; }
  .tenon { fill: #0b6bcb; } .peer { fill: #9aa5b1; } .low { fill: #cfd6dd; }
  .range { stroke: #1f2328; stroke-width: 1.2; } .one { stroke: #59636e; stroke-dasharray: 3 3; }
  .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .tenon { fill: #4493f8; } .peer { fill: #6e7781; } .low { fill: #444c56; }
    .range { stroke: #e6edf3; } .one { stroke: #9198a1; }
    .ground { fill: #0d1117; }
  }
"""


class Chart:
    def __init__(self, title, labels):
        self.title, self.body, self.y = title, [], 12
        # Where the bars begin: the font's width is not known here, but letters rarely take more than half its height.
        self.left = 40 + 7 * max(map(len, labels), default=0)
        self.room = WIDTH - RIGHT - self.left

    def text(self, x, y, words, style="", anchor="start"):
        kind = f' class="{style}"' if style else ""
        self.body.append(f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{html.escape(words)}</text>')

    def line(self, x1, y1, x2, y2, style):
        self.body.append(f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def heading(self, words):
        self.y += 18
        self.text(12, self.y, words, "head")
        self.y += 9

    def bar(self, label, value, most, words, style, span=None):
        """A bar of `value` where `most` fills the width; `span`: least and most of the rounds."""
        scale = self.room / most
        self.text(self.left - 8, self.y + BAR - 4, label, "head" if style == "tenon" and span else "", "end")
        width = max(1, value * scale)
        self.body.append(f'<rect class="{style}" x="{self.left}" y="{self.y}" width="{width:.1f}" height="{BAR}" rx="2"/>')
        end = value
        if span:
            end = max(value, span[1])
            self.line(self.left + span[0] * scale, self.y + BAR / 2, self.left + span[1] * scale, self.y + BAR / 2, "range")
        self.text(self.left + end * scale + 6, self.y + BAR - 4, words)
        self.y += BAR + GAP

    def save(self, path, foot):
        self.y += 6
        for words in foot:
            self.y += 14
            self.text(12, self.y, words, "small")
        height = self.y + 12
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img">\n'
            f"<title>{html.escape(self.title)}</title>\n<style>{STYLE}</style>\n"
            f'<rect class="ground" width="{WIDTH}" height="{height}"/>\n' + "\n".join(self.body) + "\n</svg>\n",
            encoding="utf-8",
        )


def model_chart(rows, path, foot):
    best = [r for r in rows if r["fastest"]]
    chart = Chart("Time of Tenon and its peers", [r["label"] for r in best])
    for task in dict.fromkeys(r["task"] for r in best):
        part = sorted((r for r in best if r["task"] == task), key=lambda r: r["median_ms"])
        chart.heading(task_words(task))
        # The outlier of one round must not press all bars to the left.
        most = max(r["median_ms"] for r in part) * 1.15
        for r in part:
            style = "tenon" if r["peer"] == "tenon" else "peer" if r["precision"] == "fp32" else "low"
            chart.bar(r["label"], r["median_ms"], most, time_words(r["median_ms"]), style,
                      (r["least_ms"], min(r["most_ms"], most)))  # fmt: skip
    words = "Shorter is faster. Fastest configuration of each peer at each precision (fainter: below fp32)"
    chart.save(path, [f"{words}; the thin line is the range of the rounds.", *foot])


def kernel_chart(rows, path, foot):
    rows = [r for r in rows if r["formats"]]
    chart = Chart("Time of oneDNN's kernels by Tenon's", [r["name"].split("/")[1] for r in rows])
    most = max([min(r["times_tenon"], 4) for r in rows] + [1.5])
    for task in dict.fromkeys(r["task"] for r in rows):
        for op in dict.fromkeys(r["name"].split("/")[0] for r in rows):
            words = f"{op}, {task[1]} thread{'s' * (task[1] > 1)}{', ' + task[2] if task[2] != 'native' else ''}"
            chart.heading(words)
            top = chart.y
            for r in rows:
                if r["task"] == task and r["name"].split("/")[0] == op:
                    ratio = r["times_tenon"]
                    style = "tenon" if ratio >= 1 else "peer"
                    chart.bar(r["name"].split("/")[1], min(ratio, 4), most, f"{ratio:.2f}", style)
            one = chart.left + chart.room / most
            chart.line(one, top - 3, one, chart.y - GAP + 3, "one")
    words = "Time of oneDNN's faster memory format / Tenon's time: beyond the dashed line Tenon is the faster one"
    chart.save(path, [f"{words}. Bars end at 4.", *foot])


# --- Files ----------------------------------------------------------------------------------------------------------


def pieces(path, name):
    """The file before, between and behind the two marks."""
    mark = MARK.format(name)
    parts = Path(path).read_text(encoding="utf-8").split(mark)
    if len(parts) != 3:
        harness.fail(f"expected the mark {mark} twice in {path}, found it {len(parts) - 1} times", 3)
    return parts


def replace_part(path, name, part):
    before, _, behind = pieces(path, name)
    mark = MARK.format(name)
    Path(path).write_text(f"{before}{mark}\n{part}\n{mark}{behind}", encoding="utf-8")


def write(flags, contenders, notes):
    """Writes the files and returns the Markdown."""
    out = Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    name = "kernels" if flags.kernels else "peers"
    date = datetime.date.today().isoformat()
    head = f"{date}, {machine()}; {flags.rounds} rounds in turn."
    if flags.kernels:
        rows = kernel_rows(contenders)
        banners = {run["banner"] for c in contenders if c.peer == "onednn" for r in c.runs for run in r.values()}
        short = full = kernel_table(rows)
        draw = kernel_chart
    else:
        rows = model_rows(contenders, flags.rounds)
        banners = {r["banner"] for r in rows}
        full = model_table(rows, flags.rounds)
        short = model_table([r for r in rows if r["fastest"]], flags.rounds)
        draw = model_chart
    listed = "".join(f"- {line}\n" for line in sorted(banners) + notes)
    draw(rows, out / f"{name}.svg", [head])
    for r in rows:
        r["task"] = dict(zip(("name", "threads", "isa"), r["task"]))
    data = {"date": date, "machine": machine(), "rounds": flags.rounds, "steps": flags.steps, "warmup": flags.warmup,
            "notes": notes, "banners": sorted(banners), "rows": rows}  # fmt: skip
    (out / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    explanation = "Medians over the rounds of each round's median; the range is their least and greatest."
    whole = f"{head} {explanation}\n\n{full}\n{listed}"
    (out / f"{name}.md").write_text(whole, encoding="utf-8")
    if flags.readme:
        image = os.path.relpath(out / f"{name}.svg", Path(flags.readme).resolve().parent)
        listed_notes = "".join(f"- {line}\n" for line in notes)
        replace_part(flags.readme, name, f"{head} {explanation}\n\n![{name}]({image})\n\n{short}\n{listed_notes}".rstrip("\n"))
    return whole
