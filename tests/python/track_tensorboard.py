#!/usr/bin/env python3
"""Reads a run's event file with TensorBoard's own reader and compares it with the run's log, every value.

usage: track_tensorboard.py RUN_FOLDER
Exit status 77 (skipped) where the package is not installed; 1 with TENON_REQUIRE_PYTHON=1.
"""
import json
import os
import struct
import sys
from html.parser import HTMLParser

from needs import give_up

try:
    import numpy as np
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.text import metadata as text_metadata
    from tensorboard.plugins.text.text_plugin import process_event
    from tensorboard.util import tensor_util
except ImportError as reason:
    give_up(reason)

ODD = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def float32(value) -> np.float32:
    with np.errstate(over="ignore"):  # what is too large is an infinity
        return np.float32(ODD.get(value, value))


def read_log(folder: str):
    """name: [(step, value, milliseconds)], name: {step: [(PNG, caption, milliseconds)]}, the confusion matrices, the tags,
    status"""
    points, images, confusions, tags, status = {}, {}, [], {}, None
    with open(os.path.join(folder, "log.jsonl"), encoding="utf-8") as file:
        for line in map(json.loads, file):
            time = line["t"]
            status = line.get("status", status)
            if "value" in line:
                points.setdefault(line["name"], []).append((line["step"], line["value"], time))
            for i, value in enumerate(line.get("values", [])):
                points.setdefault(line["name"], []).append((line["step"] + i, value, time))
            for name, values in line.get("series", {}).items():
                for i, value in enumerate(values):
                    if value is not None:
                        points.setdefault(name, []).append((line["step"] + i, value, time))
            if "image" in line:
                image = line["image"]
                with open(os.path.join(folder, image["file"]), "rb") as png:
                    images.setdefault(image["name"], {}).setdefault(image["step"], []).append(
                        (png.read(), image["caption"], time))
            if "confusion" in line:
                confusions.append((line["confusion"], time))
            tags.update(line.get("tags", {}))
    return points, images, confusions, tags, status


def check_scalars(events, points) -> int:
    count = 0
    for name, expected in points.items():
        assert events.SummaryMetadata(name).plugin_data.plugin_name == "scalars", name
        found = events.Tensors(name)
        assert len(found) == len(expected), (name, len(found), len(expected))
        for event, (step, value, time) in zip(found, expected):
            tensor = tensor_util.make_ndarray(event.tensor_proto)
            assert tensor.dtype == np.float32 and tensor.shape == (), name
            assert event.step == step, (name, event.step, step)
            assert event.wall_time == time / 1000, (name, event.wall_time, time)
            both_nan = np.isnan(tensor) and np.isnan(float32(value))
            assert both_nan or tensor.tobytes() == float32(value).tobytes(), (name, step, tensor, value)
            count += 1
    return count


def check_images(events, images) -> int:
    count = 0
    for name, steps in images.items():
        assert events.SummaryMetadata(name).plugin_data.plugin_name == "images", name
        found = events.Tensors(name)
        assert [event.step for event in found] == list(steps), name
        for event, logged in zip(found, steps.values()):
            pngs = [png for png, _, _ in logged]
            width, height, *blobs = tensor_util.make_ndarray(event.tensor_proto).tolist()
            assert blobs == pngs, (name, event.step)
            assert struct.unpack(">II", pngs[0][16:24]) == (int(width), int(height)), name
            assert event.wall_time == logged[-1][2] / 1000, (name, event.wall_time, logged[-1][2])
            count += len(blobs)
    return count


class Cells(HTMLParser):
    """The text of each cell, by row; any element that is not of a table is an error."""

    def __init__(self, html):
        super().__init__()
        self.rows = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        assert tag in ("table", "thead", "tbody", "tr", "th", "td"), tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def table(self):
        return [[cell.strip() for cell in row] for row in self.rows]


def one_line(text):
    return text.replace("\n", " ").strip()


def check_texts(events, images, confusions, tags) -> set:
    """The pages of texts as TensorBoard shows them: what somebody wrote is text there, and no markup."""
    expected = {}  # tag: [(step, table or text, milliseconds or None)]
    for name, steps in images.items():
        for step, logged in steps.items():
            rows = [[str(i + 1), one_line(caption)] for i, (_, caption, _) in enumerate(logged) if caption]
            if rows:
                expected.setdefault(f"{name}/captions", []).append((step, [["image", "caption"], *rows], logged[-1][2]))
    for entry, time in confusions:
        of_name = expected.setdefault(f"confusion/{entry['name']}", [])
        labels, counts = entry["labels"], entry["counts"]
        rows = [[label, *map(str, counts[i * len(labels):][:len(labels)])] for i, label in enumerate(labels)]
        table = [["true \\ predicted", *labels], *rows]
        of_name.append((len(of_name), table if len(labels) <= 100 else "101 labels are too many for a table here.", time))
    expected["tags"] = [(0, [["tag", "value"], *([n, one_line(v)] for n, v in tags.items())], None)]
    for tag, of_tag in expected.items():
        plugin = events.SummaryMetadata(tag).plugin_data
        assert plugin.plugin_name == "text" and text_metadata.parse_plugin_metadata(plugin.content).version == 0, tag
        found = events.Tensors(tag)
        assert [event.step for event in found] == [step for step, _, _ in of_tag], tag
        for event, (_, table, time) in zip(found, of_tag):
            html = process_event(event.wall_time, event.step, tensor_util.make_ndarray(event.tensor_proto), True)["text"]
            shown = Cells(html).table() if isinstance(table, list) else html.removeprefix("<p>").removesuffix("</p>")
            assert shown == table, (tag, shown, table)
            assert time is None or event.wall_time == time / 1000, (tag, event.wall_time, time)
    return set(expected)


def check_hparams(events, run, log_params, points) -> None:
    def content(tag):
        data = events.SummaryMetadata(tag).plugin_data
        assert data.plugin_name == metadata.PLUGIN_NAME, tag
        return data.content

    start = metadata.parse_session_start_info_plugin_data(content(metadata.SESSION_START_INFO_TAG))
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    assert found == log_params, (found, log_params)
    assert start.start_time_secs == run["started"] / 1000 and start.group_name == run["id"]
    end = metadata.parse_session_end_info_plugin_data(content(metadata.SESSION_END_INFO_TAG))
    assert end.status == api_pb2.STATUS_SUCCESS and end.end_time_secs >= start.start_time_secs
    experiment = metadata.parse_experiment_plugin_data(content(metadata.EXPERIMENT_TAG))
    assert experiment.name == run["experiment"], experiment.name
    kinds = {info.name: info.type for info in experiment.hparam_infos}
    kind_of = {float: api_pb2.DATA_TYPE_FLOAT64, bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    assert kinds == {name: kind_of[type(value)] for name, value in log_params.items()}, kinds
    assert {info.name.tag for info in experiment.metric_infos} == set(points)


def main(folder: str) -> None:
    with open(os.path.join(folder, "run.json"), encoding="utf-8") as file:
        run = json.load(file)
    points, images, confusions, run_tags, status = read_log(folder)
    assert len(points["Loss"]) == 9375 and len(images) == 2 and status == "completed"
    events = EventAccumulator(os.path.join(folder, "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    texts = check_texts(events, images, confusions, run_tags)
    tags = set(points) | set(images) | texts | {
        metadata.EXPERIMENT_TAG, metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG}
    assert set(events.Tags()["tensors"]) == tags, set(events.Tags()["tensors"]) ^ tags
    scalars = check_scalars(events, points)
    pngs = check_images(events, images)
    params = {"lr": 0.001, "optimizer": "adam \U0010ffff", "shuffle": True, "epochs": 5.0}
    check_hparams(events, run, params, points)
    print(f"TensorBoard reads {scalars} points of {len(points)} metrics and {pngs} images, "
          f"{len(texts)} texts, all as logged")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
