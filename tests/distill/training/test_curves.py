import json
from pathlib import Path

import pytest

from distill.training.curves import draw
from serve.errors import NotFound


def write(folder: Path, lines: list[dict[str, object]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_picture_is_a_png_with_a_panel_for_each_figure(tmp_path: Path) -> None:
    learned = {"loss": 1.0, "cross_entropy": 1.0, "agreement": 0.5}
    measured = {"held_out": {"cross_entropy": 1.0, "kl": None, "agreement": 0.4, "targets": 3}}
    write(
        tmp_path,
        [{"step": 0, **measured}, {"step": 1, **learned}, {"step": 2, **learned}, {"step": 2, **measured}],
    )
    draw(tmp_path, tmp_path / "sft.png", title="stage sft")
    write(tmp_path, [{"step": step, **learned, "divergence": 0.3} for step in (1, 2)])
    draw(tmp_path, tmp_path / "kd.png")
    sizes = []
    for name in ("sft.png", "kd.png"):
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        sizes.append(int.from_bytes(data[16:20], "big"))
    assert sizes[1] / sizes[0] == pytest.approx(4 / 3, rel=0.01)


def test_a_training_without_a_step_has_no_curve(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no finished step to draw"):
        draw(tmp_path, tmp_path / "curve.png")
