#!/usr/bin/env python3
"""What bench/gpu.sh measured, as one Markdown page and one JSON file, with the goals: gpu_report.py OUT_DIR [STAGES]. Reads what is
there (predictions.jsonl, steps-cnn.json, steps-mlp.json, epochs.jsonl, kernels.jsonl) and says what is missing. STAGES has a line for
every command of the script, and beside it lies what Nsight Compute wrote (ncu-MODEL-PRECISION.csv); without it the stages of an
earlier page stay."""
import csv
import datetime
import json
import re
import sys
from pathlib import Path
from statistics import mean, median, stdev

# goal, required, moonshot, unit; the lower the better where the unit is a time
GOALS = (
    ("CNN step, batch 128, best precision", 60, 30, "us"),
    ("CNN step: fastest eager PyTorch / Tenon", 10, 20, "x"),
    ("CNN step: fastest compiled PyTorch with CUDA graphs / Tenon", 2, 4, "x"),
    ("12 epochs of the CNN, training only, mean above 99 %, best precision", 0.35, 0.18, "s"),
    ("12 epochs of the CNN, training only, fp32", 1.2, 0.6, "s"),
    ("MLP step, batch 64, best precision", 15, 8, "us"),
    ("Fused convolution block: cuDNN and our pool / Tenon", 1.3, 2.5, "x"),
    ("fp32 product of 4096: share of cuBLAS' rate", 85, 95, "%"),
)


def lines(path):
    """The JSON objects of a file of lines, whatever else a program printed between them."""
    found = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("{"):
                try:
                    found.append(json.loads(line))
                except ValueError:
                    pass  # of a program that was stopped in the middle of it
    return found


def steps(folder, model):
    path = folder / f"steps-{model}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def fastest(rows, peer, fits=lambda form: True):
    return min((r for r in rows if r["peer"] == peer and fits(r["form"])), key=lambda r: r["median_ms"], default=None)


def eager(form):
    return "eager" in form and "graph" not in form


def compiled_graph(form):
    return "compiled" in form and ("graph" in form or "reduce-overhead" in form)


def trainings(folder):
    """(program, banner) -> its trainings of the CNN, one a seed."""
    found = {}
    for line in lines(folder / "epochs.jsonl"):
        if "training_s" in line and line["model"] == "cnn":
            found.setdefault((line["program"], line["banner"]), []).append(line)
    return found


def kernel_times(folder):
    """(name, provider, precision of the run) -> microseconds."""
    found = {}
    for run in lines(folder / "kernels.jsonl"):
        for row in run.get("rows", []):
            for name, cell in row["results"].items():
                if "median_ms" in cell:
                    found[row["name"], name, run.get("precision", "fp32")] = 1e3 * cell["median_ms"]
    return found


def probe_times(folder):
    return {p["name"]: p["value"] for p in lines(folder / "predictions.jsonl") if "value" in p}


def conv_block(kernels, probes):
    """(ratio, in words) of the precision where Tenon's block is the fastest."""
    best = None
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        ours = kernels.get(("conv2d/conv2_mnist", "cuda.tenon", precision))
        pool = kernels.get(("pool2d/conv2_mnist", "cuda.tenon", precision))
        conv = [probes[k] for k in (f"conv2_bias_relu_fused_{precision}", f"conv2_bias_relu_{precision}") if k in probes]
        if not (ours and pool and conv):
            continue
        theirs = min(conv) + pool
        if best is None or ours < best[1]:
            best = (theirs / ours, ours, f"{precision}: {min(conv):.1f} us of cuDNN + {pool:.1f} us / {ours:.1f} us")
    return (best[0], best[2]) if best else (None, "")


def values(folder):
    """What was reached, goal by goal: (value or None, in words)."""
    cnn, mlp = steps(folder, "cnn"), steps(folder, "mlp")
    kernels, probes = kernel_times(folder), probe_times(folder)
    best, small = fastest(cnn, "tenon"), fastest(mlp, "tenon")

    def step(row):
        return (1e3 * row["median_ms"], row["banner"]) if row else (None, "")

    def ratio(fits):
        rival = fastest(cnn, "torch", fits)
        if not (best and rival):
            return None, ""
        return rival["median_ms"] / best["median_ms"], f"{rival['form']}: {1e3 * rival['median_ms']:.0f} us"

    own = [runs for (program, _), runs in trainings(folder).items() if program == "tenon" and runs[0]["epochs"] == 12]
    good = [runs for runs in own if mean(r["accuracy"] for r in runs) > 0.99]

    def seconds(of):
        if not of:
            return None, ""
        runs = min(of, key=lambda runs: mean(r["training_s"] for r in runs))
        reached = mean(r["accuracy"] for r in runs)
        return mean(r["training_s"] for r in runs), f"{runs[0]['precision']}, {100 * reached:.2f} % in the mean of {len(runs)}"

    tenon, blas = (kernels.get(("matmul/4096", f"cuda.{p}", "fp32")) for p in ("tenon", "cublas"))
    return (
        step(best),
        ratio(eager),
        ratio(compiled_graph),
        seconds(good),
        seconds([runs for runs in own if runs[0]["precision"] == "fp32"]),
        step(small),
        conv_block(kernels, probes),
        (100 * blas / tenon, f"{tenon:.0f} us, cuBLAS {blas:.0f} us") if tenon and blas else (None, ""),
    )


def judge(value, required, moonshot, unit):
    if value is None:
        return "not measured"
    beats = (lambda limit: value <= limit) if unit in ("us", "s") else (lambda limit: value >= limit)
    return "moonshot" if beats(moonshot) else "required" if beats(required) else "missed"


def goals(folder):
    found = []
    for (name, required, moonshot, unit), (value, words) in zip(GOALS, values(folder)):
        found.append({"goal": name, "required": required, "moonshot": moonshot, "unit": unit, "value": value,
                      "how": words, "verdict": judge(value, required, moonshot, unit)})  # fmt: skip
    return found


def number(value):
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def goals_table(found):
    text = "| goal | required | moonshot | reached | | how |\n| --- | ---: | ---: | ---: | --- | --- |\n"
    for g in found:
        text += (f"| {g['goal']} | {g['required']} {g['unit']} | {g['moonshot']} {g['unit']} | "
                 f"{number(g['value'])}{' ' + g['unit'] if g['value'] is not None else ''} | {g['verdict']} | {g['how']} |\n")  # fmt: skip
    return text


def predictions_table(folder):
    text = "| | measured | predicted | |\n| --- | ---: | ---: | --- |\n"
    for p in lines(folder / "predictions.jsonl"):
        if "refused" in p:
            text += f"| {p['name']} | left out: {p['refused']} | | |\n"
        elif "value" in p:
            predicted = f"{p['low']:g} to {p['high']:g}" if "low" in p else ""
            text += f"| {p['name']} | {number(p['value'])} {p['unit']} | {predicted} | {p.get('verdict', '')} |\n"
    return text


def steps_table(rows):
    text = "| | median | range | of Tenon's fastest |\n| --- | ---: | ---: | ---: |\n"
    best = fastest(rows, "tenon")
    for r in sorted(rows, key=lambda r: r["median_ms"]):
        label = f"**{r['label']}**" if r["peer"] == "tenon" else r["label"]
        text += (f"| {label} | {1e3 * r['median_ms']:.1f} us | {1e3 * r['least_ms']:.1f} to {1e3 * r['most_ms']:.1f} | "
                 f"{r['median_ms'] / best['median_ms']:.2f} |\n" if best else "")  # fmt: skip
    return text


def epochs_table(folder):
    text = "| | epochs | seeds | training | with evaluation | accuracy | to 99 % |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    for (_, banner), runs in trainings(folder).items():
        accuracy = [100 * r["accuracy"] for r in runs]
        spread = f" ± {stdev(accuracy):.2f}" if len(runs) > 1 else ""
        there = [r["to_target_s"] for r in runs if "to_target_s" in r]
        reached = f"{median(there):.3f} s ({len(there)} of {len(runs)})" if there else ""
        text += (f"| {banner} | {runs[0]['epochs']} | {len(runs)} | {mean(r['training_s'] for r in runs):.3f} s | "
                 f"{mean(r['with_evaluation_s'] for r in runs):.3f} s | {mean(accuracy):.2f}{spread} % | {reached} |\n")  # fmt: skip
    return text


def kernels_table(folder):
    """Every row of every precision: warm, from memory, and what cuDNN or cuBLAS takes."""
    text = "| operation | | Tenon | from memory | library | library / Tenon |\n| --- | --- | ---: | ---: | ---: | ---: |\n"
    for run in lines(folder / "kernels.jsonl"):
        for row in run.get("rows", []):
            cells = {name.split(".")[-1]: cell for name, cell in row["results"].items() if "median_ms" in cell}
            ours = cells.pop("tenon", None)
            theirs = next(iter(cells.values()), None)
            if not ours:
                continue
            cold = f"{1e3 * ours['cold_median_ms']:.2f} us" if "cold_median_ms" in ours else ""
            text += (f"| {row['name']} | {ours['precision']} | {1e3 * ours['median_ms']:.2f} us | {cold} | "
                     + (f"{1e3 * theirs['median_ms']:.2f} us | {theirs['median_ms'] / ours['median_ms']:.2f} |\n"
                        if theirs else " | |\n"))  # fmt: skip
    return text


STALL = re.compile(r"smsp__average_warps_issue_stalled_(\w+)_per_issue_active")
STEP_END = "note_and_advance"  # the last kernel of a step


def step_kernels(path):
    """[(kernel, {column or metric: value})] of one whole step, in the order in which they ran alone."""
    launches = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(line for line in file if line.startswith('"')):
            launches.setdefault(int(row["ID"]), dict(row))[row["Metric Name"]] = row["Metric Value"].replace(",", "")
    found = [launches[i] for i in sorted(launches)]
    ends = [i for i, launch in enumerate(found) if STEP_END in launch["Kernel Name"]]
    return found[ends[0] + 1 : ends[1] + 1] if len(ends) > 1 else found


def profile_table(path):
    text = "| kernel | grid | threads | registers | us | of the SMs | of L2 | warps there | waits for |\n"
    text += "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
    together = 0.0

    def share(launch, metric):
        value = launch.get(metric)
        return f"{float(value):.0f} %" if value not in (None, "") else ""

    for launch in step_kernels(path):
        name = re.sub(r"void |tenon::cuda::|\(anonymous namespace\)::|<?unnamed>::", "", launch["Kernel Name"]).split("(")[0]
        us = float(launch["gpu__time_duration.sum"]) / 1000
        together += us
        stalls = {m.group(1): float(v) for k, v in launch.items() if (m := STALL.match(k)) and v not in (None, "")}
        worst = ", ".join(f"{s} {stalls[s]:.1f}" for s in sorted(stalls, key=stalls.get, reverse=True)[:2])
        text += (f"| `{name[:90]}` | {launch['Grid Size'].strip('()').replace(', ', 'x')} | "
                 f"{launch['Block Size'].strip('()').split(',')[0]} | {launch.get('launch__registers_per_thread', '')} | {us:.1f} | "
                 f"{share(launch, 'sm__throughput.avg.pct_of_peak_sustained_elapsed')} | "
                 f"{share(launch, 'lts__throughput.avg.pct_of_peak_sustained_elapsed')} | "
                 f"{share(launch, 'sm__warps_active.avg.pct_of_peak_sustained_active')} | {worst} |\n")  # fmt: skip
    return text + f"| together | | | | {together:.0f} | | | | |\n"


def profiles(folder):
    """The kernels of a step, from what Nsight Compute wrote: they run alone there, at clocks that it leaves as they are."""
    text = ""
    for path in sorted(folder.glob("ncu-*-*.csv")):
        _, model, precision = path.stem.split("-")
        text += f"\n## Kernels of a step of the {model.upper()}, {precision}\n\n{profile_table(path)}"
    return text


def stages_list(stages):
    text = ""
    for s in stages:
        what = f"left out: {s['refused']}: {s['why']}" if "refused" in s else f"`{s['command']}`: {s['said']}, {s['seconds']} s"
        text += f"- {s['stage']}: {what}\n"
    return text


def page(folder, found, stages, profile):
    text = f"# A GPU, {datetime.date.today().isoformat()}\n\n{goals_table(found)}"
    if (folder / "predictions.jsonl").is_file():
        text += f"\n## Predictions\n\n{predictions_table(folder)}"
    for model in ("cnn", "mlp"):
        if rows := steps(folder, model):
            text += f"\n## Training steps of the {model.upper()}\n\n{steps_table(rows)}"
    if trainings(folder):
        text += f"\n## Trainings of the CNN\n\n{epochs_table(folder)}"
    if (folder / "kernels.jsonl").is_file():
        text += f"\n## Kernels\n\n{kernels_table(folder)}"
    return f"{text}{profile}\n## Stages\n\n{stages_list(stages)}"


def main():
    if len(sys.argv) not in (2, 3) or not Path(sys.argv[1]).is_dir():
        print("gpu_report.py: expects a folder of results", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    found, earlier = goals(folder), folder / "results.json"
    profile = ""
    if len(sys.argv) == 3:
        stages, profile = lines(Path(sys.argv[2])), profiles(Path(sys.argv[2]).parent)
    else:
        stages = json.loads(earlier.read_text(encoding="utf-8"))["stages"] if earlier.is_file() else []
    (folder / "results.md").write_text(page(folder, found, stages, profile), encoding="utf-8")
    whole = {"date": datetime.date.today().isoformat(), "goals": found, "stages": stages}
    earlier.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
