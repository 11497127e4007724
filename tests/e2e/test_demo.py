"""The demo, small, from the command line to its table and picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_demo_end_to_end(tmp_path: Path) -> None:
    script = ROOT / "tools" / "demo.py"
    command = [sys.executable, "-W", "ignore", script, "--images", "16", "--epochs", "1", "--out", tmp_path]
    output = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert output.returncode == 0, output.stderr[-3000:]
    for text in ("ATSS (baseline)", "GFL", "AP75", "ms a training step", "detections.png"):
        assert text in output.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["model"] for row in results] == ["ATSS (baseline)", "GFL"]
    assert all(row["step_ms"] > 0 and 0 <= row["ap"] <= 100 and Path(row["checkpoint"]).is_file() for row in results)
    assert "| GFL |" in (tmp_path / "results.md").read_text()
    sheet = Image.open(tmp_path / "detections.png")
    # A column each for ground truth and the two models, a row for each of four images, all 160 px enlarged threefold,
    # under a line of headings.
    assert sheet.size == (3 * 480, 36 + 4 * 480)
