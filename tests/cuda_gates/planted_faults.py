#!/usr/bin/env python3
"""Plants a fault in the sources of the CUDA kernels, one after the other, and fails for each that the emulated tests miss.

Of each kernel family: a barrier left out, a wrong index, a bound off by one. A fault is a piece of source and what replaces
it; the piece must be there exactly once, so that a change of the kernels cannot turn a fault into nothing. One object is
compiled anew for it and linked with the others of the emulated module; then the tests of the operation concerned run, and
must end with a message that tells of the fault. Before that all of them run on the module as it is, and must pass.

    planted_faults.py --objects FILE --compiler CXX --test cuda_test --module FOLDER --source FOLDER --work FOLDER [NAME...]

FILE names the module's objects, one a line; --module is the folder of the module without faults. NAME picks faults.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass
class Fault:
    name: str
    file: str  # under kernels/cuda
    old: str
    new: str
    object: str  # the source to compile; `file` or one that includes it
    ops: str
    message: str  # a regular expression: what the test must say
    filter: str = "[rows][tenon]"


RACE = r"race at byte"
OTHER_BITS = r"element \d+: found|found [-\d.]+|wrote|outside|differs from"
OUTSIDE = r"wrote outside"
FAULTS = [
    Fault("contraction: no barrier between the stages", "contraction.cuh",
          "    if (more) store(1 - stage);\n    __syncthreads();\n", "    if (more) store(1 - stage);\n",
          "conv2d_grad_input.cu", "conv2d_grad_input", RACE),
    Fault("contraction: a thread's quads in the wrong place", "contraction.cuh",
          "A::at(my_row + i / 4 * row_step + i % 4, term)];", "A::at(my_row + i / 4 * row_step + (i + 1) % 4, term)];",
          "conv2d_grad_input.cu", "conv2d_grad_input", OTHER_BITS),
    Fault("slabs: no wait for the copies", "contraction_slabs.cuh",
          "      cp_async_wait<T::stages - 2>();\n", "",
          "product.cu", "matmul", r"cp\.async"),
    Fault("slabs: no barrier before a slab is read", "contraction_slabs.cuh",
          "      __syncthreads();  // this slab is there", "      // this slab is there",
          "product.cu", "matmul_grad_b", RACE),
    Fault("slabs: rows of a quad change places", "contraction_slabs.cuh",
          "z.sum[r][c] = sums[i + r][j + c];", "z.sum[r][c] = sums[i + (r + 1) % T::quad_rows][j + c];",
          "conv2d.cu", "conv2d", OTHER_BITS),
    Fault("filter gradient by live terms: no barrier before a band is read", "conv2d_grad_filter_live.cuh",
          "    __syncthreads();  // the band is there", "    // the band is there",
          "conv2d_grad_filter.cu", "conv2d_grad_filter", RACE + "|outside shared memory"),
    Fault("filter gradient by live terms: positions in the wrong row", "conv2d_grad_filter_live.cuh",
          "position[u][f] / 2 == line % 2;", "position[u][f] / 2 == 1 - line % 2;",
          "conv2d_grad_filter.cu", "conv2d_grad_filter", OTHER_BITS),
    Fault("input gradient by live terms: no barrier behind the lists", "conv2d_grad_input_live.cuh",
          "    __syncthreads();  // the lists of row", "    // the lists of row",
          "conv2d_grad_input.cu", "conv2d_grad_input", RACE),
    Fault("input gradient by live terms: the last cell left out", "conv2d_grad_input_live.cuh",
          "cell_end = x / 2 < g.pw ? x / 2 + 1 : g.pw;", "cell_end = x / 2 < g.pw ? x / 2 + 1 : g.pw - 1;",
          "conv2d_grad_input.cu", "conv2d_grad_input", OTHER_BITS),
    Fault("convolution: one line too many of the image", "conv2d.cuh",
          "ix = r.ix + kx * e.g.dilation_w;\n    if (iy < 0 || iy >= e.g.h ||",
          "ix = r.ix + kx * e.g.dilation_w;\n    if (iy < 0 || iy > e.g.h ||",
          "conv2d.cu", "conv2d", OTHER_BITS),
    Fault("epilogue: one column too many", "epilogue.cuh",
          "first = line * pitch + column, count = columns_end - column;",
          "first = line * pitch + column, count = columns_end - column + 1;",
          "conv2d.cu", "conv2d", OTHER_BITS),
    Fault("convolution's input gradient: one line too many of dz", "conv2d.cuh",
          "&& x == 0 && oy < e.g.oh && ox < e.g.ow;", "&& x == 0 && oy <= e.g.oh && ox < e.g.ow;",
          "conv2d_grad_input.cu", "conv2d_grad_input", OTHER_BITS),
    Fault("convolution's filter gradient: taps one column to the right", "conv2d.cuh",
          "ix = ox * e.g.stride_w + r.x;\n", "ix = ox * e.g.stride_w + r.x + 1;\n",
          "conv2d_grad_filter.cu", "conv2d_grad_filter", OTHER_BITS),
    Fault("joined chunks: both quads of a warp from the first", "contraction.cuh",
          "__shfl_sync(whole_warp, line.sum[j], i * 8 + right);", "__shfl_sync(whole_warp, line.sum[j], i * 8);",
          "conv2d_grad_filter.cu", "conv2d_grad_filter", OTHER_BITS),
    Fault("tensor cores: two registers of a fragment change places", "contraction_mma.cuh",
          "{a[2 * i][0], a[2 * i + 1][0], a[2 * i][1], a[2 * i + 1][1]}",
          "{a[2 * i][0], a[2 * i][1], a[2 * i + 1][0], a[2 * i + 1][1]}",
          "conv2d_mma.cu", "conv2d", OTHER_BITS),
    Fault("tensor cores: no wait for the copies", "contraction_mma.cuh",
          "    if constexpr (copies) cp_async_wait<1>();\n", "",
          "conv2d_mma.cu", "conv2d", r"cp\.async"),
    Fault("tensor cores: no barrier before a stage is read", "contraction_mma.cuh",
          "cp_async_wait<1>();\n    __syncthreads();\n", "cp_async_wait<1>();\n",
          "conv2d_mma.cu", "conv2d", RACE),
    Fault("tensor cores: no barrier before the shares of a sum are read", "contraction_mma.cuh",
          "  __syncthreads();\n  if (share > 0) return false;\n", "  if (share > 0) return false;\n",
          "conv2d_mma.cu", "conv2d", RACE),
    Fault("dense layers: no wait for the copies", "product_tiles.cuh",
          "      cp_async_wait<T::stages - 2>();\n", "",
          "product_mma.cu", "matmul", r"cp\.async"),
    Fault("dense layers: no barrier before a stage is read", "product_tiles.cuh",
          "next copies take.\n      if constexpr (T::own)\n        __syncwarp();\n      else\n        __syncthreads();\n",
          "next copies take.\n", "product_mma.cu", "matmul", RACE),
    Fault("dense layers: no barrier before the sums of the warps are read", "product_tiles.cuh",
          "  __syncthreads();\n  const std::int64_t part_number", "  const std::int64_t part_number",
          "product_mma.cu", "matmul", RACE),
    Fault("dense layers: terms in another order on one side", "product_stage.cuh",
          "return row / 16 * 16 + row % 4 * 4 + row % 16 / 4;", "return row / 16 * 16 + row % 16;",
          "product_mma.cu", "matmul", OTHER_BITS),
    Fault("dense layers: the mask of another element", "product_stage.cuh",
          "(bytes & 0xffu << 8 * j) == 0", "(bytes & 0xffu << 8 * (3 - j)) == 0",
          "product_mma.cu", "matmul_grad_b", OTHER_BITS),
    Fault("dense layers: the bias without the last warp", "product_tiles.cuh",
          "for (int w = 0; w < T::warps; ++w)\n      if (apart", "for (int w = 0; w < T::warps - 1; ++w)\n      if (apart",
          "product_mma.cu", "matmul_grad_b", OTHER_BITS),
    Fault("bands: no barrier before lines and filter are read", "conv2d_bands.cuh",
          "c0, column0);\n      __syncthreads();\n      if (my_unit", "c0, column0);\n      if (my_unit",
          "conv2d_grad_input_mma.cu", "conv2d_grad_input", RACE),
    Fault("bands: columns of the filter in another order", "conv2d_bands.cuh",
          "column % 4 * 8 + column % 16 / 4 * 2 + column % 32 / 16;", "column % 4 * 8 + column % 32 / 4;",
          "conv2d_grad_input_mma.cu", "conv2d_grad_input", OTHER_BITS),
    Fault("bands: one column of the image too many", "conv2d_bands.cuh",
          "slot < b.slots && px >= 0 && px < b.w)", "slot < b.slots && px >= 0 && px <= b.w)",
          "conv2d_grad_input_mma.cu", "conv2d_grad_input", OTHER_BITS),
    Fault("few channels: no barrier before the lines are read", "conv2d_few.cu",
          "few_lines(g, rows * step));\n  __syncthreads();\n", "few_lines(g, rows * step));\n",
          "conv2d_few.cu", "conv2d", RACE),
    Fault("few channels: no barrier before the sums of the warps are read", "conv2d_few_sums.cu",
          "sums[t][3]));\n  }\n  __syncthreads();\n", "sums[t][3]));\n  }\n",
          "conv2d_few_sums.cu", "conv2d_grad_filter", RACE),
    Fault("few channels: no barrier between the stages of chains", "conv2d_few_chains.cu",
          "          });\n    }\n    __syncthreads();\n  }\n", "          });\n    }\n  }\n",
          "conv2d_few_chains.cu", "conv2d_grad_filter", RACE),
    Fault("filter gradient by cells: no barrier before the lines are read", "conv2d_grad_filter_cells.cuh",
          "cells_height(g, rows), c0);\n      __syncthreads();\n", "cells_height(g, rows), c0);\n",
          "conv2d_grad_filter_mma.cu", "conv2d_grad_filter", RACE),
    Fault("filter gradient by cells: one cell too many", "conv2d_grad_filter_cells.cuh",
          "if (cell < cells && k < g.k) {", "if (cell <= cells && k < g.k) {",
          "conv2d_grad_filter_mma.cu", "conv2d_grad_filter", OTHER_BITS),
    Fault("sums of a bias: no barrier before those of the warps are read", "bias_sums.cuh",
          "  __syncthreads();\n  if (thread < 32 && line0", "  if (thread < 32 && line0",
          "conv2d_grad_filter_mma.cu", "conv2d_grad_filter", RACE),
    Fault("rows: no barrier behind a tile of terms", "row_team.cuh",
          "      __syncthreads();\n    }\n    if (thread_ == 0) {\n      if (n <= 0)",
          "    }\n    if (thread_ == 0) {\n      if (n <= 0)",
          "rows.cu", "softmax", RACE),
    Fault("rows: one warp too many", "row_team.cuh",
          "for (int w = 1; w < warps; ++w) x = Fold::join", "for (int w = 1; w <= warps; ++w) x = Fold::join",
          "rows.cu", "softmax", r"element 8 of an array of 8"),
    Fault("folds of rows: a thread leaves out its last result", "fold_rows.cuh",
          "v[l] = l < mine ? parts[4 * thread + l] : 0.f;", "v[l] = l < mine - 1 ? parts[4 * thread + l] : 0.f;",
          "update.cu", "clip_norm", OTHER_BITS),
    Fault("folds of columns: no barrier behind a tile", "fold_columns.cuh",
          "      __syncthreads();\n    }\n    if (thread < width) to[",
          "    }\n    if (thread < width) to[",
          "bias.cu", "bias_grad", RACE),
    Fault("elementwise: one element too many", "elementwise.cuh",
          "if (l < there) p[l] = x.v[l];", "if (l <= there) p[l] = x.v[l];",
          "dropout.cu", "dropout,dropout_grad", OUTSIDE),
    Fault("chains: results in each other's slots", "pointwise_chain.cu",
          "return (number * 4 + l) * chain_threads", "return (number * 3 + l) * chain_threads",
          "pointwise_chain.cu", "pointwise_chain", OTHER_BITS),
    Fault("pooling: one column too many", "pool2d.cu",
          "kw < window.kw.last; ++kw) {\n        const Lanes<float, count> v = load<count>(row + std::int64_t{kw} * g.c);\n"
          "#pragma unroll\n        for (int l = 0; l < count; ++l) {\n          const bool wins",
          "kw <= window.kw.last; ++kw) {\n        const Lanes<float, count> v = load<count>(row + std::int64_t{kw} * g.c);\n"
          "#pragma unroll\n        for (int l = 0; l < count; ++l) {\n          const bool wins",
          "pool2d.cu", "pool2d", OTHER_BITS),
    Fault("transpose: no barrier behind the tile's loads", "shape.cu",
          "= x[from + row + column * g.x_pitch];\n    }\n    __syncthreads();\n",
          "= x[from + row + column * g.x_pitch];\n    }\n",
          "shape.cu", "transpose", RACE),
    Fault("gather's gradient: one column too many", "gather.cu",
          "if (at < g.width) gtable[row * g.width + at] = sum[j];", "if (at <= g.width) gtable[row * g.width + at] = sum[j];",
          "gather.cu", "gather_grad", OTHER_BITS),
    Fault("updates: no barrier before the other threads read", "update.cu",
          "    __syncthreads();\n    rule.correction1 =", "    rule.correction1 =",
          "update.cu", "adam_update", RACE),
    Fault("resident data: no barrier before the row's number is read", "step_block.cu",
          "  __syncthreads();\n  const std::int64_t row = shared.row[0];", "  const std::int64_t row = shared.row[0];",
          "step_block.cu", "", RACE, "[resident]"),
]

FLAGS = ["-x", "c++", "-std=c++20", "-O1", "-DNDEBUG", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off",
         "-Wno-unknown-pragmas", "-DTENON_CUDA_EMULATION"]


def run_tests(arguments, module, filters, ops):
    environment = dict(os.environ, TENON_MODULE_PATH=str(module), TENON_TEST_CASES="5")
    environment.pop("TENON_CUDA_SCHEDULE", None)
    if ops:
        environment["TENON_TEST_OPS"] = ops
    return subprocess.run([arguments.test, filters, "--abort"], env=environment, capture_output=True, text=True, timeout=600)


def build(arguments, fault, number):
    """The folder of the module with the fault."""
    folder = pathlib.Path(arguments.work) / f"fault{number}"
    source = pathlib.Path(arguments.source)
    text = (source / "kernels/cuda" / fault.file).read_text()
    if text.count(fault.old) != 1:
        raise SystemExit(f"[planted_faults] {fault.name}: expected the piece of {fault.file} once, found it "
                         f"{text.count(fault.old)} times; the source has moved on, write the fault anew:\n{fault.old}")
    overlay = folder / "kernels/cuda"
    shutil.rmtree(folder, ignore_errors=True)  # another fault may have had this number
    overlay.mkdir(parents=True)
    (overlay / fault.file).write_text(text.replace(fault.old, fault.new))
    at = overlay / fault.object if fault.file == fault.object else source / "kernels/cuda" / fault.object
    include = [f"-I{p}" for p in (source / "tests/cuda_emulation/include", folder, source, source / "include")]
    compiled = folder / (fault.object + ".o")
    subprocess.run([*arguments.compiler.split(), *FLAGS, *include, "-c", str(at), "-o", str(compiled)], check=True)
    names = pathlib.Path(arguments.objects).read_text().split()
    others = [n for n in names if pathlib.Path(n).name != fault.object + ".o"]
    if len(others) != len(names) - 1:
        raise SystemExit(f"[planted_faults] expected one object of {fault.object} in {arguments.objects}")
    subprocess.run([*arguments.compiler.split(), "-shared", "-o", str(folder / "tenon_cuda.so"), str(compiled), *others,
                    "-pthread", "-ldl"], check=True)
    return folder


def missed(arguments, fault, number):
    """What is wrong with the tests of this fault; empty where they catch it."""
    begin = time.monotonic()
    try:
        result = run_tests(arguments, build(arguments, fault, number), fault.filter, fault.ops)
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]} failed on the faulty source"
    output = result.stdout + result.stderr
    (pathlib.Path(arguments.work) / f"fault{number}/output.txt").write_text(output)
    if result.returncode == 0:
        return "the tests passed"
    # Of the failures only: the lines that Catch quotes from the sources would fit, too.
    said = [line for line in output.splitlines() if re.search(fault.message, line) and "CHECK" not in line]
    if not said:
        return f"the tests failed, but nothing says {fault.message!r}:\n{output[:2000]}"
    print(f"{time.monotonic() - begin:5.1f} s  {fault.name}\n         {said[0].strip()[:150]}", flush=True)
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("objects", "compiler", "test", "module", "source", "work"):
        parser.add_argument("--" + option, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    faults = [f for f in FAULTS if not arguments.names or any(n in f.name for n in arguments.names)]
    if not faults:
        parser.error("no fault has such a name")

    asked = {}
    for fault in faults:
        asked.setdefault(fault.filter, []).append(fault.ops)
    for filters, ops in asked.items():
        result = run_tests(arguments, arguments.module, filters, ",".join(ops))
        if result.returncode != 0:
            raise SystemExit(f"[planted_faults] {filters} fails without a fault:\n{result.stdout}{result.stderr}")
    failures = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for fault, why in zip(faults, pool.map(lambda f: missed(arguments, f, FAULTS.index(f)), faults)):
            if why:
                failures.append(f"{fault.name}: not caught: {why}")
    for failure in failures:
        print(f"[planted_faults] {failure}", file=sys.stderr)
    if failures:
        raise SystemExit(1)
    print(f"{len(faults)} planted faults, all caught")


if __name__ == "__main__":
    main()
