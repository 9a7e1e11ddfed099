from pathlib import Path

import pytest

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.storage.incarnation import next_incarnation, restore_incarnation


def test_it_grows_with_every_start(tmp_path: Path) -> None:
    path = tmp_path / "node" / "incarnation"
    assert [next_incarnation(path) for _ in range(3)] == [1, 2, 3]
    assert [child.name for child in path.parent.iterdir()] == ["incarnation"]


@pytest.mark.parametrize("position", range(0, 45, 4))
def test_damage_is_reported_never_guessed(tmp_path: Path, position: int) -> None:
    path = tmp_path / "incarnation"
    next_incarnation(path)
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1
    path.write_bytes(data)
    with pytest.raises(ResourceError, match="damaged"):
        next_incarnation(path)
    restore_incarnation(path, 40)
    assert next_incarnation(path) == 41


@pytest.mark.parametrize("text", ["", "7", "\n\n\n", "synaptic-incarnation 1\n-1\n\n"])
def test_other_text_is_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "incarnation"
    path.write_text(text)
    with pytest.raises(ResourceError, match="damaged"):
        next_incarnation(path)


def test_bytes_that_are_no_text_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "incarnation"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ResourceError, match="damaged"):
        next_incarnation(path)
