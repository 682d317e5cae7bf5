"""Data files, taken from `$ZO_GYM_DATA`, else from the cache, else from the official URL, and checked by sha256.

A new file is one line in `FILES`. Scikit-learn's bundled sets need no file and work offline.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zo_gym.registry import lookup

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class DataFile:
    """Describes one file as its publisher serves it.

    Attributes:
        url: Official address.
        sha256: Checksum in hex; a file that differs is refused.
        folder: Subfolder of `$ZO_GYM_DATA` and of the cache.
        num_features: d of a LIBSVM file, which does not contain it (a9a.t lacks the last feature); None for others.
    """

    url: str
    sha256: str
    folder: str
    num_features: int | None = None


MNIST = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
"""Split -> the files with its images and its labels."""

FILES: dict[str, DataFile] = {
    name: DataFile(f"https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/{name}", sha256, "libsvm", d)
    for name, sha256, d in (
        ("heart_scale", "5defa0a4c4c5bdaf3f55ae3828310252e8565c13ee37ce279e0b86d82e7f4ce9", 13),
        ("german.numer_scale", "97637cc6b994bd3fa78999c771bc044bea7a0cdf91d43b6ecfd10f7e7c4ebc82", 24),
        ("a9a", "f5d5ffd8d865ff41328e7ee043e4b020816914ff6843ff15b98905ddbedce906", 123),
        ("a9a.t", "1f448a153f0320399a7e40836eb207655b0bde0f21fc941cc472193daa9f5de9", 123),
    )
} | {
    name: DataFile(f"https://storage.googleapis.com/cvdf-datasets/mnist/{name}", sha256, "mnist")
    for name, sha256 in (
        ("train-images-idx3-ubyte.gz", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte.gz", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    )
}


def locate(name: str) -> Path:
    """Return the path of a checked copy of a file in `FILES`; download it if need be.

    The search goes to `$ZO_GYM_DATA/<folder>/<name>`, `$ZO_GYM_DATA/<name>`, the cache folder (`$ZO_GYM_CACHE`, or the
    user's cache), and the official URL, whose file is put into the cache, atomically.

    Raises:
        ValueError: The name is unknown, or the file's checksum is wrong.
        NotADirectoryError: `$ZO_GYM_DATA` is set and is not a folder.
        FileNotFoundError: The file is in none of the folders, and the download failed.
    """
    import pooch

    file = lookup(FILES, name, "data file")
    own = os.environ.get("ZO_GYM_DATA")
    root = Path(own or "").expanduser()
    if own and not root.is_dir():
        raise NotADirectoryError(
            f"ZO_GYM_DATA must name a folder that holds the data files, got {own!r}, which is not one. Create it, or "
            "unset ZO_GYM_DATA to use the cache and the download."
        )
    places = (root / file.folder / name, root / name) if own else ()
    for path in places:
        if path.is_file():
            found = pooch.file_hash(str(path), alg="sha256")
            if found != file.sha256:
                raise ValueError(
                    f"Data file {path} is corrupt or another version: its sha256 must be {file.sha256}, got {found}. "
                    f"Replace it by {file.url}, or remove it so that the download is used."
                )
            return path

    cache = cache_folder(file.folder)
    looked = ", ".join(str(path) for path in (*places, cache / name))
    try:
        return Path(pooch.retrieve(file.url, known_hash=f"sha256:{file.sha256}", fname=name, path=cache))
    except ValueError as error:  # so pooch reports a wrong checksum; it has kept nothing
        raise ValueError(
            f"The copy of {name} that {file.url} serves is corrupt or has changed: {error} Try again later, or put a "
            "good copy in a folder and set ZO_GYM_DATA to that folder."
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"Data file {name} is not at {looked}, and downloading {file.url} failed ({error}). Fetch it where there "
            "is a network, put it in a folder and set ZO_GYM_DATA to that folder."
        ) from error


def cache_folder(name: str) -> Path:
    """Return the subfolder `name` of `$ZO_GYM_CACHE`, or of the user's cache. It need not exist."""
    import pooch

    return Path(os.environ.get("ZO_GYM_CACHE") or pooch.os_cache("zo-gym")).expanduser() / name


def load_libsvm(name: str) -> tuple[csr_matrix, np.ndarray]:
    """Load a LIBSVM binary classification set: "heart_scale", "german.numer_scale", "a9a" or "a9a.t".

    Return features (n, d), float64 CSR, and labels (n,), float64 in {-1, +1}. Errors are those of `locate`.

    Reference: Chang and Lin (2011), "LIBSVM", ACM TIST 2.
    """
    from sklearn.datasets import load_svmlight_file

    file = lookup({key: value for key, value in FILES.items() if value.folder == "libsvm"}, name, "LIBSVM dataset")
    path, d = str(locate(name)), file.num_features
    features, labels = load_svmlight_file(path, n_features=d, dtype=np.float64, zero_based=False)
    return features, labels


def load_breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Load scikit-learn's bundled Wisconsin breast cancer set, standardised; it needs no download.

    Return features (569, 30), each column of mean 0 and (population) standard deviation 1, and labels (569,), +1
    benign, -1 malignant; all float64.
    """
    from sklearn import datasets

    features, target = datasets.load_breast_cancer(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    return features, 2.0 * target - 1.0


def load_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load the MNIST handwritten digits, split "train" (n = 60,000) or "test" (n = 10,000).

    Return images (n, 28, 28), uint8 with 255 for ink, and labels (n,), int64 from 0 to 9. Errors are those of `locate`.

    Reference: LeCun, Bottou, Bengio and Haffner (1998), "Gradient-based learning applied to document recognition".
    """
    images, labels = (_read_idx(locate(name)) for name in lookup(MNIST, split, "MNIST split"))
    return images, labels.astype(np.int64)


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Load scikit-learn's bundled 8 x 8 handwritten digits (the test part of UCI's set); they need no download.

    Return images (1797, 8, 8), float64, multiples of 1/16 in [0, 1] with 1 for ink, and labels (1797,), int64, 0 to 9.
    """
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    return pixels.reshape(-1, 8, 8) / 16.0, labels.astype(np.int64)


def _read_idx(path: Path) -> np.ndarray:
    """Read the array in a gzipped IDX file of bytes; raise ValueError where it is not such a file.

    The file holds 0, 0, 8 (for unsigned bytes), the rank, the sizes (big-endian int32) and the bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} must be a gzip file, and cannot be unpacked: {error}. Replace it.") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(
            f"{path} must hold an IDX array of bytes (first bytes 00 00 08), got {content[:3].hex(' ')}. Replace it."
        )
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    if len(content) != start + math.prod(shape):
        expected = " x ".join(str(size) for size in shape)
        raise ValueError(
            f"{path} must hold {expected} bytes after a header of {start}, got {len(content)} in all. Replace it."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # writable
