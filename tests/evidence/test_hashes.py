import hashlib
import subprocess
from pathlib import Path

import pytest

from dfdetect.errors import UnreadableVideo
from dfdetect.evidence.hashes import BLOCK_BYTES, hash_clip


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_one_reading_gives_both_hashes_and_the_size(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content[:size])
    found = hash_clip(path)
    assert found.sha256 == hashlib.sha256(content[:size]).hexdigest()
    assert found.md5 == hashlib.md5(content[:size]).hexdigest()
    assert (found.size_bytes, found.n_files) == (size, 1)


def test_a_folder_has_the_hash_of_what_sha256sum_prints(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]) * 10)
    images = sorted(tmp_path.iterdir())
    found = hash_clip(tmp_path, images)
    names = [image.name for image in images]
    for tool, value in (("sha256sum", found.sha256), ("md5sum", found.md5)):
        listing = subprocess.run([tool, *names], cwd=tmp_path, capture_output=True, check=True)
        repeated = subprocess.run([tool], input=listing.stdout, capture_output=True, check=True)
        assert repeated.stdout.split()[0].decode() == value
    assert (found.size_bytes, found.n_files) == (30, 3)


def test_pictures_in_another_order_are_another_clip(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    images = sorted(tmp_path.iterdir())
    assert hash_clip(tmp_path, images).sha256 != hash_clip(tmp_path, images[::-1]).sha256


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"'gone\.mp4' cannot be read"):
        hash_clip(tmp_path / "gone.mp4")


def test_the_clip_is_opened_for_reading_only(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"evidence")
    before = path.stat()
    hash_clip(path)
    after = path.stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
