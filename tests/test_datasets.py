"""Where data files are found, what is refused, and what the loaders return."""

from __future__ import annotations

import gc
import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from zo_gym import datasets

# pooch leaves the connection of a refused request to the garbage collector, which warns
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

CONTENT = b"+1 1:0.5 3:-2\n-1 2:1\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTP server on this machine: its address and the folder it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()
        thread.join()


@pytest.fixture
def toy(server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registered LIBSVM file "toy", not yet served, with an empty cache and no ZO_GYM_DATA; the served folder."""
    url, folder = server
    monkeypatch.setitem(datasets.FILES, "toy", datasets.DataFile(f"{url}/toy", SHA256, "libsvm", 4))
    monkeypatch.delenv("ZO_GYM_DATA", raising=False)
    monkeypatch.setenv("ZO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder
    gc.collect()


def test_download_goes_to_the_cache_and_is_used_again(toy: Path, tmp_path: Path) -> None:
    (toy / "toy").write_bytes(CONTENT)
    path = datasets.locate("toy")
    assert path == tmp_path / "cache" / "libsvm" / "toy"
    assert path.read_bytes() == CONTENT
    (toy / "toy").unlink()
    assert datasets.locate("toy") == path
    assert [p.name for p in path.parent.iterdir()] == ["toy"]  # no temporary file is left behind


def test_corrupt_cache_is_downloaded_again(toy: Path) -> None:
    (toy / "toy").write_bytes(CONTENT)
    path = datasets.locate("toy")
    path.write_bytes(b"rubbish")
    assert datasets.locate("toy").read_bytes() == CONTENT


@pytest.mark.parametrize("subfolder", ["libsvm", "."])
def test_zo_gym_data_comes_first(subfolder: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine" / subfolder
    folder.mkdir(parents=True)
    (folder / "toy").write_bytes(CONTENT)
    monkeypatch.setenv("ZO_GYM_DATA", str(tmp_path / "mine"))
    assert datasets.locate("toy").samefile(folder / "toy")
    features, labels = datasets.load_libsvm("toy")
    np.testing.assert_array_equal(features.toarray(), [[0.5, 0, -2, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(labels, [1, -1])


def test_file_missing_from_zo_gym_data_is_downloaded(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy / "toy").write_bytes(CONTENT)
    monkeypatch.setenv("ZO_GYM_DATA", str(tmp_path))
    assert datasets.locate("toy") == tmp_path / "cache" / "libsvm" / "toy"


def test_missing_file_names_places_url_and_remedy(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZO_GYM_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        datasets.locate("toy")
    for part in (
        str(tmp_path / "libsvm" / "toy"),
        str(tmp_path / "toy"),
        str(tmp_path / "cache" / "libsvm" / "toy"),
        datasets.FILES["toy"].url,
        "404",
        "set ZO_GYM_DATA",
    ):
        assert part in str(caught.value)


def test_offline_is_a_missing_file(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = datasets.DataFile("http://127.0.0.1:9/toy", SHA256, "libsvm", 4)  # port 9: nothing listens
    monkeypatch.setitem(datasets.FILES, "toy", nobody)
    with pytest.raises(FileNotFoundError, match=r"downloading http://127\.0\.0\.1:9/toy failed"):
        datasets.locate("toy")


def test_corrupt_file_names_path_both_checksums_and_remedy(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy").write_bytes(b"rubbish")
    monkeypatch.setenv("ZO_GYM_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="is corrupt") as caught:
        datasets.locate("toy")
    for part in (str(tmp_path / "toy"), SHA256, hashlib.sha256(b"rubbish").hexdigest(), "Replace it"):
        assert part in str(caught.value)


def test_corrupt_download_is_refused_and_not_kept(toy: Path, tmp_path: Path) -> None:
    (toy / "toy").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="corrupt or has changed") as caught:
        datasets.locate("toy")
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(b"rubbish").hexdigest() in str(caught.value)
    assert not (tmp_path / "cache" / "libsvm" / "toy").exists()


def test_zo_gym_data_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZO_GYM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match=r"ZO_GYM_DATA must name a folder.*nowhere.*unset ZO_GYM_DATA"):
        datasets.locate("a9a")


def test_typo_in_a_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'heart_scale'"):
        datasets.load_libsvm("heart_scal")
    with pytest.raises(ValueError, match=r"Did you mean 'german\.numer_scale'"):
        datasets.locate("german.numer_scal")


@pytest.mark.parametrize(
    ("name", "shape", "positive"),
    [
        pytest.param(name, shape, positive, marks=pytest.mark.needs_data(name))
        for name, shape, positive in (
            ("heart_scale", (270, 13), 120),
            ("german.numer_scale", (1000, 24), 300),
            ("a9a", (32561, 123), 7841),
            ("a9a.t", (16281, 123), 3846),
        )
    ],
)
def test_published_shapes_and_class_counts(name: str, shape: tuple[int, int], positive: int) -> None:
    features, labels = datasets.load_libsvm(name)
    assert features.shape == shape
    assert features.dtype == labels.dtype == np.float64
    assert set(labels) == {-1.0, 1.0}
    assert (labels == 1).sum() == positive


def test_breast_cancer_is_standardised_and_benign_is_positive() -> None:
    features, labels = datasets.load_breast_cancer()
    assert features.shape == (569, 30)
    assert features.dtype == labels.dtype == np.float64
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-12)  # sums of 569 terms of size 1 round at 1e-13
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-12)
    assert ((labels == 1).sum(), (labels == -1).sum()) == (357, 212)  # the published counts: benign, malignant
    assert features[labels == -1, 0].mean() > features[labels == 1, 0].mean()  # malignant tumours are larger


# Per class 0 to 9, as published with the data


@pytest.mark.needs_data("mnist")
@pytest.mark.parametrize(
    ("split", "counts"),
    [
        ("train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_mnist_has_the_published_shape_and_class_counts(split: str, counts: list[int]) -> None:
    images, labels = datasets.load_mnist(split)
    assert images.shape == (sum(counts), 28, 28)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    assert np.bincount(labels).tolist() == counts
    assert (images.min(), images.max()) == (0, 255)
    assert images[:, 10:18, 10:18].mean() > 3 * images[:, :, :8].mean()  # upright and centred: ink is in the middle
    images[0, 0, 0] = 1  # the caller's own


def test_digits_are_sixteenths_in_the_unit_interval() -> None:
    images, labels = datasets.load_digits()
    assert images.shape == (1797, 8, 8)
    assert (images.dtype, labels.dtype) == (np.float64, np.int64)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert set(np.unique(images)) == {i / 16 for i in range(17)}


def idx(shape: tuple[int, ...], content: bytes, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape) + content


@pytest.fixture
def own_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts a file in the place of the test images, checksum included; the labels are 7 and 2."""

    def put(name: str, content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        file = datasets.DataFile("http://127.0.0.1:9/x", hashlib.sha256(content).hexdigest(), "mnist")
        monkeypatch.setitem(datasets.FILES, name, file)

    monkeypatch.setenv("ZO_GYM_DATA", str(tmp_path))
    images, labels = datasets.MNIST["test"]
    put(labels, gzip.compress(idx((2,), bytes([7, 2]))))
    return lambda content: put(images, content)


def test_idx_file_is_read_in_row_major_order(own_mnist: Callable[[bytes], None]) -> None:
    own_mnist(gzip.compress(idx((2, 2, 3), bytes(range(12)))))
    images, labels = datasets.load_mnist("test")
    assert images.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert labels.tolist() == [7, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rubbish", "must be a gzip file, and cannot be unpacked"),
        (gzip.compress(idx((2,), b"ab"))[:-9], "must be a gzip file, and cannot be unpacked"),
        (gzip.compress(b""), r"must hold an IDX array of bytes \(first bytes 00 00 08\), got"),
        (gzip.compress(idx((2,), b"abcdefgh", kind=0x0D)), "got 00 00 0d"),
        (gzip.compress(idx((2, 3), b"abcde")), "must hold 2 x 3 bytes after a header of 12, got 17 in all"),
        (gzip.compress(idx((2, 3), b"abcdefg")), "must hold 2 x 3 bytes after a header of 12, got 19 in all"),
        (gzip.compress(idx((2, 3), b"")[:7]), "after a header of 12, got 7 in all"),
    ],
    ids=["no-gzip", "cut-gzip", "empty", "floats", "short", "long", "cut-header"],
)
def test_damaged_idx_file_is_explained(own_mnist: Callable[[bytes], None], content: bytes, message: str) -> None:
    own_mnist(content)
    with pytest.raises(ValueError, match=message) as caught:
        datasets.load_mnist("test")
    assert "t10k-images-idx3-ubyte.gz" in str(caught.value)


def test_typo_in_an_mnist_split() -> None:
    with pytest.raises(ValueError, match=r"Unknown MNIST split 'trian'\. Did you mean 'train'"):
        datasets.load_mnist("trian")
