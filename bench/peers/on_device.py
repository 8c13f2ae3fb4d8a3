"""The contenders of compare.py --device: training steps on a GPU, where the rival is PyTorch in every form that makes it fast,
and JAX. The peers' programs are started before the first round, compile and record their steps, and serve all rounds."""
import os
import re
import tempfile
import time
from pathlib import Path

from contender import Contender, Served

HERE = Path(__file__).resolve().parent
PEERS = {"torch": ("torch", "numpy"), "jax": ("jax", "numpy")}  # and the modules that they need
EPOCH = {"cnn": 60000 // 128, "mlp": 60000 // 64}  # steps


def torch_forms(cnn, on_gpu):
    """(words, precision, flags). fp32 is strict in the forms that are like Tenon's; a GPU's rivals are tf32 and bf16."""
    recorded = [("eager graph", ("--graph",)), ("compiled graph", ("--compile", "--graph"))]
    yield "eager", "fp32", ()
    yield from ((words, "fp32", extra) for words, extra in recorded)
    for precision in ("tf32", "bf16"):
        yield "eager", precision, ()
        if cnn:
            yield "eager channels_last", precision, ("--channels-last",)
            yield "eager graph channels_last", precision, ("--graph", "--channels-last")
            yield "compiled graph channels_last", precision, ("--compile", "--graph", "--channels-last")
        yield "compiled", precision, ("--compile",)
        yield from ((words, precision, extra) for words, extra in recorded)
        if on_gpu:  # which needs its compiler, and has nothing to choose between elsewhere
            yield "compiled reduce-overhead", precision, ("--compile", "--mode", "reduce-overhead")
            yield "compiled max-autotune graph", precision, ("--compile", "--mode", "max-autotune", "--graph")


def jax_forms(model):
    for precision in ("fp32", "tf32", "bf16"):
        for words, together in (("scan of 32", 32), ("scan of an epoch", EPOCH[model])):
            yield words, precision, ("--together", str(together))


def contenders(flags, peers, lock):
    tenon_on_gpu, on_gpu = flags.device != "cpu", flags.peers_device != "cpu"
    for name, model, _ in flags.models:
        task = (name, 1, flags.device)
        common = ["--model", model, "--data-folder", flags.data_folder, "--steps", str(flags.steps), "--json"]
        common += ["--batch", str(flags.batch)] if flags.batch else []
        own = ["--device", flags.device, "--warmup", str(flags.warmup_tenon)]
        own += ["--together", str(flags.together)] if flags.together else []
        tenon = [str(Path(flags.bin) / "step_bench"), *common, *own]
        # In fp32 on any machine; what a device has no kernels for says so by itself.
        yield Contender(task, "tenon", "", "fp32", tenon, {})
        for precision in ("tf32", "bf16", "fp16") if tenon_on_gpu else ("tf32", "bf16"):
            yield Contender(task, "tenon", precision, precision, [*tenon, "--precision", precision], {})
        for provider in flags.provider:
            yield Contender(task, "tenon", f"tf32 {provider}", "tf32",
                            [*tenon, "--precision", "tf32", "--provider", provider], {})  # fmt: skip
        common += ["--device", flags.peers_device, "--warmup", str(flags.warmup), "--serve"]
        if flags.together:
            common += ["--together", str(flags.together)]
        forms = {"torch": list(torch_forms(model == "cnn", on_gpu)), "jax": list(jax_forms(model))}
        for peer in peers:
            for words, precision, extra in forms[peer]:
                words = f"{words} {precision}"
                if not re.search(flags.match, words):
                    continue
                if flags.together and peer == "jax" and "32" not in extra:
                    continue  # all scans are that long then
                extra = () if flags.together and peer == "jax" else extra
                waits = [] if "--compile" in extra else ["--lock", lock]
                command = [flags.python, str(HERE / f"{peer}_step.py"), *common, *waits, "--precision", precision, *extra]
                yield Served(task, peer, words, precision, command, {})


def start(all_contenders, flags, notes):
    """Some at once, those that choose kernels by their time one by one. Who is not warm in time is left out."""
    served = [c for c in all_contenders if isinstance(c, Served)]
    alone = [c for c in served if "max-autotune" in c.form]
    compiled = [c for c in served if "--compile" in c.command and c not in alone]
    others = [c for c in served if c not in alone and c not in compiled]
    end = time.monotonic() + flags.start_limit
    waves = [part[i : i + flags.at_once] for part in (others, compiled) for i in range(0, len(part), flags.at_once)]
    for wave in waves + [[c] for c in alone]:
        in_time = time.monotonic() < end
        for c in wave if in_time else []:
            c.start()
        for c in wave:
            why = c.wait_until_warm(max(1, end - time.monotonic())) if in_time else "no time was left to start it"
            if why:
                c.out = True
                notes.append(f"{c.label()} is left out of {c.task[0]}, {c.task[2]}: {why}")


def run(flags, peers, notes, measure):
    """measure(contenders) between the start of all and their end; the contenders."""
    folder = tempfile.mkdtemp()
    everyone = list(contenders(flags, peers, os.path.join(folder, "turn")))
    try:
        start(everyone, flags, notes)
        measure(everyone)
    finally:
        for c in everyone:
            if isinstance(c, Served):
                c.stop()
    return everyone
