"""The comparison as a Markdown table, a JSON file and an SVG chart."""
import datetime
import html
import json
import os
from pathlib import Path
from statistics import geometric_mean, median

import harness

NAMES = {
    "tenon": "Tenon",
    "torch": "PyTorch",
    "keras-tf": "Keras/TensorFlow",
    "keras-jax": "Keras/JAX",
    "jax": "JAX",
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
    if isa not in ("native", "avx2"):
        return f"{model.upper()}, {what}, {isa}"
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


PRECISIONS = ("fp32", "tf32", "bf16")
GROUPS = {  # columns of the summary: how an operation's name begins
    "forward": ("conv2d/",),
    "grad input": ("conv2d_grad_input/",),
    "grad filter": ("conv2d_grad_filter/",),
    "products": ("matmul",),
    "all": ("",),
}


def kernel_rows(contenders):
    """One row a kernel and precision that both have: Tenon's time and that of each of oneDNN's, medians over the rounds."""
    rows = []
    for tenon in (c for c in contenders if c.peer == "tenon" and c.runs):
        alike = (tenon.task, tenon.precision)
        rivals = [c for c in contenders if c.peer == "onednn" and (c.task, c.precision) == alike and c.runs]
        for name in tenon.runs[0]:
            cells = {c.form: cell for c in rivals if (cell := kernel_cell(c, name))}
            if not cells:
                continue
            row = {"task": tenon.task, "precision": tenon.precision, "name": name, **kernel_cell(tenon, name)}
            row["gflops"] *= tenon.runs[0][name]["ms"] / row["median_ms"]
            row["rival"] = min(cells, key=lambda form: cells[form]["median_ms"])
            row["rival_ms"] = cells[row["rival"]]["median_ms"]
            row["times_tenon"] = row["rival_ms"] / row["median_ms"]
            rows.append({**row, "onednn": cells})
    return rows


def kernel_cell(contender, name):
    """A contender's time of a kernel, and what its first round says of it."""
    runs = [run[name] for run in contender.runs if name in run]
    times = [run["ms"] for run in runs]
    if not times:
        return None
    about = {key: value for key, value in runs[0].items() if key != "ms"}
    return {"median_ms": median(times), "least_ms": min(times), "most_ms": max(times), **about}


def with_kept(rows, path):
    """The rows, and those of an earlier file that have not been measured again."""

    def key(r):
        return r["task"], r["precision"], r["name"]

    measured = {key(r) for r in rows}
    earlier = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    for r in earlier:
        r["task"] = tuple(r["task"].values())
    rows = [r for r in earlier if key(r) not in measured] + rows
    return sorted(rows, key=lambda r: (r["task"], PRECISIONS.index(r["precision"])))


def kernel_parts(rows):
    """(heading, rows) by task and precision."""
    for task, precision in dict.fromkeys((r["task"], r["precision"]) for r in rows):
        words = f"{precision}, {task[1]} thread{'s' * (task[1] > 1)}{', ' + task[2] if task[2] != 'native' else ''}"
        yield words, [r for r in rows if (r["task"], r["precision"]) == (task, precision)]


def kernel_summary(rows):
    """Geometric means of oneDNN's time by Tenon's."""
    text = f"| oneDNN's time / Tenon's | {' | '.join(GROUPS)} | Tenon is faster in |\n| --- |{' ---: |' * (len(GROUPS) + 1)}\n"
    for words, part in kernel_parts(rows):
        text += f"| {words} |"
        for starts in GROUPS.values():
            ratios = [r["times_tenon"] for r in part if r["name"].startswith(starts)]
            text += f" {geometric_mean(ratios):.2f} |" if ratios else " |"
        text += f" {sum(r['times_tenon'] > 1 for r in part)} of {len(part)} |\n"
    return text


def kernel_table(rows):
    text = ""
    for words, part in kernel_parts(rows):
        text += f"{words}:\n\n"
        text += "| operation | Tenon | range | GFLOP/s | by | oneDNN | range | version, format, result, kernel | ratio |\n"
        text += "| --- | ---: | ---: | ---: | --- | ---: | ---: | --- | ---: |\n"
        for r in part:
            o = r["onednn"][r["rival"]]
            form = r["rival"].replace(f" {r['precision']}", "").split(" ", 1)[1]
            text += (
                f"| {r['name']} | {time_words(r['median_ms'])} | {time_words(r['least_ms'])} to {time_words(r['most_ms'])} | "
                f"{r['gflops']:.0f} | {r['by']} {r['row_precision']} | {time_words(r['rival_ms'])} | "
                f"{time_words(o['least_ms'])} to {time_words(o['most_ms'])} | "
                f"{o['banner'].split()[-1]}, {form}, {o['result']}, {o['by']} | {r['times_tenon']:.2f} |\n"
            )
        text += "\n"
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
    chart = Chart("Time of oneDNN's kernels by Tenon's", [r["name"].split("/")[1] for r in rows])
    most = max([min(r["times_tenon"], 4) for r in rows] + [1.5])
    for words, part in kernel_parts(rows):
        for op in dict.fromkeys(r["name"].split("/")[0] for r in part):
            chart.heading(f"{op}, {words}")
            top = chart.y
            for r in (r for r in part if r["name"].split("/")[0] == op):
                ratio = r["times_tenon"]
                style = "tenon" if ratio >= 1 else "peer"
                chart.bar(r["name"].split("/")[1], min(ratio, 4), most, f"{ratio:.2f}", style)
            one = chart.left + chart.room / most
            chart.line(one, top - 3, one, chart.y - GAP + 3, "one")
    words = "Time of oneDNN's fastest configuration / Tenon's time: beyond the dashed line Tenon is the faster one"
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
        if flags.keep:
            rows = with_kept(rows, out / f"{name}.json")
        banners = {cell["banner"] for r in rows for cell in r["onednn"].values()}
        short = kernel_summary(rows)
        full = f"{short}\n{kernel_table(rows)}"
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
            "warmup_tenon": flags.warmup_tenon,
            "notes": notes, "banners": sorted(banners), "rows": rows}  # fmt: skip
    (out / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    explanation = "Medians over the rounds of each round's median; the range is their least and greatest."
    whole = f"{head} {explanation}\n\n{full}\n{listed}"
    (out / f"{name}.md").write_text(whole, encoding="utf-8")
    if flags.readme:
        folder = os.path.relpath(out, Path(flags.readme).resolve().parent)
        chart = f"![{name}]({folder}/{name}.svg)"
        listed_notes = "".join(f"- {line}\n" for line in notes)
        if flags.kernels:  # too long a chart
            chart = f"Every kernel: [table]({folder}/{name}.md), [chart]({folder}/{name}.svg)."
            listed_notes = listed
        replace_part(flags.readme, name, f"{head} {explanation}\n\n{chart}\n\n{short}\n{listed_notes}".rstrip("\n"))
    return whole
