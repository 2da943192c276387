"""Laws of the ledger of what is encoded."""

from pathlib import Path

from malt.data.ledger import Ledger


def test_why_a_video_was_dropped_may_name_bytes_that_are_no_text(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger").drop("x", "caf\udce9.mp4 is broken")
    Ledger(tmp_path / "ledger").finish("y")
    assert Ledger.read(tmp_path / "ledger").done == {"y": []}
