#!/usr/bin/env python3
"""Reads a run's .hlog with HdrHistogram's own readers and compares every stage with the run's report.

usage: hlog.py REPORT.json RUN.hlog

- Python's reader is the package `hdrhistogram`; Java's is used where a Java compiler and its archive are found
  (Debian: libhdrhistogram-java), and left out in so many words otherwise.
- Counts, the value of rank ceil(0.99 n) and the maximum must be those of the report, to the nanosecond. The rank is
  named, since the libraries round 0.99 n in different ways.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

ARCHIVES = ["/usr/share/java/hdrhistogram.jar", "/usr/share/java/HdrHistogram.jar"]


def reported(report):
    """Tag: (count, p99, max) as the report says."""
    latency = json.loads(Path(report).read_text())["latency"]
    stages = dict(latency["stages"])
    stages["client.e2e"] = latency["client_e2e"]
    return {tag: (s["count"], s["p99_ns"], s["max_ns"]) for tag, s in stages.items() if s["count"] > 0}


def python_reads(log):
    sums = {}
    reader = HistogramLogReader(log, HdrHistogram(1, 3600 * 10**12, 3))
    while (interval := reader.get_next_interval_histogram()) is not None:
        tag = interval.get_tag()
        if tag not in sums:
            sums[tag] = HdrHistogram(1, 3600 * 10**12, 3)
        sums[tag].add(interval)
    read = {}
    for tag, histogram in sums.items():
        count = histogram.get_total_count()
        if count > 0:
            rank = 100.0 * math.ceil(0.99 * count) / count
            read[tag] = (count, histogram.get_value_at_percentile(rank), histogram.get_max_value())
    return read


def java_reads(log):
    archive = next((path for path in ARCHIVES if Path(path).exists()), None)
    source = Path(__file__).with_name("Hlog.java")
    if archive is None:
        return None
    ran = subprocess.run(["java", "-cp", archive, str(source), log], capture_output=True, text=True)
    if ran.returncode != 0:
        print(ran.stderr, file=sys.stderr)
        return None
    lines = [line.split() for line in ran.stdout.splitlines()]
    return {tag: tuple(map(int, numbers)) for tag, *numbers in lines}


def main():
    report, log = sys.argv[1:]
    expected = reported(report)
    readers = {"Python": python_reads(log)}
    try:
        readers["Java"] = java_reads(log)
    except FileNotFoundError:
        readers["Java"] = None
    faults = 0
    for name, read in readers.items():
        if read is None:
            print(f"{name}'s reader: SKIPPED, no Java compiler or no HdrHistogram archive here")
            continue
        for tag, ours in sorted(expected.items()):
            if read.get(tag) != ours:
                print(f"{name}'s reader: {tag}: {read.get(tag)} (count, p99, max), the report says {ours}")
                faults += 1
        print(f"{name}'s reader: {len(expected)} histograms compared, {faults} differ")
    return 1 if faults or len(expected) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
