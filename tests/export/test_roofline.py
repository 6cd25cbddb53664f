"""The work of a graph against counts made by hand, and the limit that peaks set."""

import pytest

from sightline.export.bench import BenchOptions, bench
from sightline.export.roofline import Peaks, Work, measure_peaks
from sightline.export.roofline_plot import draw_roofline
from sightline.runtime import Bundle
from tests.factories import tiny_bundle


def test_the_limit_is_computing_or_memory_whichever_takes_longer():
    work = Work(int8_macs=2_000_000, float_macs=1_000_000, bytes=3_000_000)
    assert work.intensity == 1
    assert work.least_ms(Peaks(1, 2e9, 1e9, 1e12)) == pytest.approx(2.0)
    assert work.least_ms(Peaks(1, 2e9, 1e9, 1e9)) == pytest.approx(3.0)


def test_bench_reports_and_draws_the_roofline(tmp_path):
    report = bench(Bundle.load(tiny_bundle(tmp_path / "tiny.bundle")), BenchOptions((1,), (), 0.1, 6))
    (peaks,) = report.peaks
    assert peaks.threads == 1 and min(peaks.int8_macs, peaks.float_macs, peaks.bandwidth) > 1e6
    assert report.work["fp32"].float_macs == 48 * 3
    entry = report.entries[0]
    assert entry.least_ms is not None and 0 < entry.least_ms < entry.median_ms
    draw_roofline(report, tmp_path / "roof.png")
    assert (tmp_path / "roof.png").stat().st_size > 5000


def test_peaks_are_measured():
    assert measure_peaks(2).bandwidth > 1e8
