"""Images of a Dataset that does not fit in memory: they stand where a tensor of images would, and are read when used.

Whoever goes through many images says beforehand which ones come next (`reading_ahead`); then worker processes read
them while the net computes. What is read does not depend on that.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lvlm_va.common.distributed import on_each, rank, world_size
from lvlm_va.common.fingerprint import fingerprint
from lvlm_va.data.pixels import as_array

# Channels, height, width.
ImageShape = tuple[int, int, int]

# Images that are read at a time where nothing else says how many.
CHUNK = 64
_UNREAD = object()
# Images that are read a second time, to see that they stay what they were.
_READ_TWICE = 8


@dataclass(frozen=True)
class _Unreadable:
    """An image that could not be read; an exception would lose its message on the way from a worker."""

    row: int
    message: str


class _Items(Dataset[Any]):
    """Images of a Dataset by the batch, as tensors, with their labels."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset
        image, _ = self._read(0)
        self.shape, self.dtype = image.shape, image.dtype

    def __getitems__(self, rows: Sequence[int]) -> tuple[Tensor, list[Any]] | _Unreadable:
        images, labels = [], []
        for row in rows:
            try:
                image, label = self._read(row)
                if image.shape != self.shape or image.dtype != self.dtype:
                    raise ValueError(
                        f"it has shape {tuple(image.shape)} and type {image.dtype}; the first one has "
                        f"{tuple(self.shape)} and {self.dtype}"
                    )
                if image.is_floating_point() and not image.isfinite().all():
                    raise ValueError("it holds NaN or infinity")
            except Exception as error:
                return _Unreadable(row, f"{type(error).__name__}: {error}")
            images.append(image)
            labels.append(label)
        return torch.stack(images), labels

    def _read(self, row: int) -> tuple[Tensor, Any]:
        item = self.dataset[row]
        label = None
        if isinstance(item, tuple | list):
            label = item[1] if len(item) > 1 else None
            item = item[0]
        if isinstance(label, Tensor):
            label = label.detach().cpu().numpy()[()]
        return torch.from_numpy(_numbers(as_array(item))), label


def _numbers(image: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels in a type that batches travel in; uint8 is scaled at its destination."""
    if image.dtype != np.uint8 and np.issubdtype(image.dtype, np.unsignedinteger):
        return np.asarray(image, np.float32) / np.float32(np.iinfo(image.dtype).max)
    kept = image.dtype in (np.uint8, np.float32, np.float64)
    # A copy only where torch cannot share the memory.
    return np.require(image, image.dtype if kept else np.float64, ["C_CONTIGUOUS", "WRITEABLE"])


def _as_is(batch: Any) -> Any:
    return batch


class ImageReader:
    """Reads images of a Dataset by their numbers.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Map-style, with a length. Its items are images or (image, label, ...) tuples, the same each time.
    num_workers : int
        Processes that read ahead; 0 reads when asked.

    Attributes
    ----------
    labels : list
        Label of each image, once that was read; None where there is none.
    """

    def __init__(self, dataset: Dataset[Any], num_workers: int) -> None:
        self._items, self._num_workers = _Items(dataset), num_workers
        self.labels: list[Any] = [_UNREAD] * len(dataset)  # type: ignore[arg-type]
        self._expected: deque[Tensor] = deque()
        self._arriving: Iterator[Any] = iter(())
        self._found: tuple[str, float, float] | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape (n, ...) of all images, as the Dataset gives them."""
        return torch.Size((len(self.labels), *self._items.shape))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the images once they are scaled."""
        return torch.float32 if self._items.dtype == torch.uint8 else self._items.dtype

    def read(self, rows: Tensor) -> Tensor:
        """Return the images (n, ...) of these numbers, unscaled.

        Raises
        ------
        ValueError
            If one cannot be read, or has another shape or type than the first.
        """
        if not len(rows):
            return torch.empty((0, *self._items.shape), dtype=self._items.dtype)
        if self._expected and torch.equal(self._expected[0], rows):
            self._expected.popleft()
            batch = next(self._arriving)
        else:
            batch = self._items.__getitems__(rows.tolist())
        if isinstance(batch, _Unreadable):
            raise ValueError(
                f"The 'X' argument must return an image of one shape for each index. Image {batch.row} cannot be "
                f"taken: {batch.message}."
            )
        images: Tensor = batch[0]
        for row, label in zip(rows.tolist(), batch[1], strict=True):
            self.labels[row] = label
        return images

    @contextmanager
    def reading_ahead(self, parts: Iterable[Tensor], *, pinned: bool = False) -> Iterator[None]:
        """Have workers read these parts, in this order, while the block asks for one after another.

        A part that is asked for out of turn is read on the spot.

        Parameters
        ----------
        parts : iterable of int64 Tensor
            Numbers of images.
        pinned : bool, default=False
            Whether they come in pinned memory, from which they reach a GPU without a halt.
        """
        parts = [part for part in parts if len(part)]
        # Daemons, such as Dask's workers, may not have children.
        if not self._num_workers or not parts or multiprocessing.current_process().daemon:
            yield
            return
        loader = DataLoader(
            self._items,
            batch_sampler=(part.tolist() for part in parts),
            num_workers=min(self._num_workers, len(parts)),
            collate_fn=_as_is,
            pin_memory=pinned,
            generator=torch.Generator(),  # the global one is the user's
        )
        outer = self._expected, self._arriving
        self._expected, self._arriving = deque(parts), iter(loader)
        try:
            yield
        finally:
            self._expected, self._arriving = outer

    def survey(self) -> tuple[str, float, float]:
        """Read all images once; return a digest of them, and their smallest and largest value when scaled.

        Several processes share the work, and all must call it.

        Raises
        ------
        ValueError
            If an image cannot be read, or is another one when read again.
        """
        if self._found is None:
            self._require_constant()
            parts = torch.arange(len(self.labels)).split(CHUNK)
            found = on_each(lambda: self._survey(parts[rank() :: world_size()]))
            in_order = [found[k % len(found)][k // len(found)] for k in range(len(parts))]
            digests, lows, highs, labels = zip(*in_order, strict=True)
            self.labels = list(chain.from_iterable(labels))
            whole = hashlib.sha256(repr((self.shape, self._items.dtype, digests)).encode()).hexdigest()
            self._found = whole, min(lows), max(highs)
        return self._found

    def _survey(self, parts: Sequence[Tensor]) -> list[tuple[str, float, float, list[Any]]]:
        found = []
        with self.reading_ahead(parts):
            for part in parts:
                images = self.read(part)
                ends = scaled(torch.stack(images.aminmax()), torch.device("cpu"), torch.float64).tolist()
                labels = [self.labels[row] for row in part.tolist()]
                found.append((hashlib.sha256(images.numpy().data).hexdigest(), *ends, labels))
        return found

    def _require_constant(self) -> None:
        rows = torch.arange(min(len(self.labels), _READ_TWICE))
        changed = (self.read(rows) != self.read(rows)).flatten(1).any(1).nonzero()
        if len(changed):
            raise ValueError(
                f"The 'X' argument must return the same image for an index each time. Image {int(changed[0])} came out "
                "different; leave out random transforms, or pass them as 'augment'."
            )


class StoredImages:
    """Images of a Dataset, read when they are selected.

    Indexing it, as a tensor is indexed, by a slice, numbers or a mask of rows, reads those images.

    Parameters
    ----------
    reader : ImageReader
        Where they come from.
    rows : Tensor of shape (n,), int64, default=None
        Their numbers there; None takes all.
    image_shape : tuple of int, default=None
        Shape that each gets; None leaves it as it is.
    dtype : torch.dtype, default=None
        Floating type that they get.
    """

    def __init__(
        self,
        reader: ImageReader,
        rows: Tensor | None = None,
        image_shape: Sequence[int] | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.reader = reader
        self.rows = torch.arange(len(reader.labels)) if rows is None else rows
        self.dtype = reader.dtype if dtype is None else dtype
        self.device = torch.device("cpu")
        shape = reader.shape[1:] if image_shape is None else image_shape
        self.shape = torch.Size((len(self.rows), *shape))

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Tensor:
        return self.read(rows, self.device, self.dtype)

    def read(self, rows: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return images (m, ...) of a floating type, in [0, 1] if they came as uint8, on a device."""
        images = self.reader.read(self._numbers(rows))
        return scaled(images, device, dtype).reshape(len(images), *self.shape[1:])

    def subset(self, rows: Any) -> StoredImages:
        """Return these images without reading them."""
        return StoredImages(self.reader, self._numbers(rows), self.shape[1:], self.dtype)

    def shaped(self, image_shape: Sequence[int], dtype: torch.dtype) -> StoredImages:
        """Return these images in another shape and type, without reading them."""
        return StoredImages(self.reader, self.rows, image_shape, dtype)

    def reading_ahead(self, parts: Iterable[Any], *, pinned: bool = False) -> AbstractContextManager[None]:
        """Read these selections ahead of their use; see `ImageReader.reading_ahead`."""
        return self.reader.reading_ahead(map(self._numbers, parts), pinned=pinned)

    def labels(self) -> NDArray[Any]:
        """Return the labels; the Dataset is read for them unless that was done before.

        Raises
        ------
        ValueError
            If there are none.
        """
        if any(self.reader.labels[row] is _UNREAD for row in self.rows.tolist()):
            self.reader.survey()
        found = [self.reader.labels[row] for row in self.rows.tolist()]
        if any(label is None for label in found):
            raise ValueError(
                "The 'y' argument must hold the labels where the Dataset has images alone. Got None instead."
            )
        return np.asarray(found)

    def min(self) -> float:
        """Return the smallest value of the Dataset, which is read for it unless that was done before."""
        return self.reader.survey()[1]

    def max(self) -> float:
        """Return the largest value of the Dataset, which is read for it unless that was done before."""
        return self.reader.survey()[2]

    def fingerprint(self) -> str:
        """Return what stands for these images; the Dataset is read for it unless that was done before."""
        return fingerprint(self.reader.survey()[0], self.rows, list(self.shape), self.dtype)

    def _numbers(self, rows: Any) -> Tensor:
        return self.rows[rows if isinstance(rows, slice) else torch.as_tensor(rows)]


#: Images in memory, or read when selected.
ImageRows = Tensor | StoredImages


def scaled(images: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return images on a device; uint8 travels as it is and becomes [0, 1] there."""
    moved = images.to(device, non_blocking=True)
    if moved.dtype == torch.uint8:
        moved = moved.to(torch.float32)
        # By a tensor: a GPU would multiply by the inverse of a number, which is off by a bit.
        moved.div_(moved.new_full((), 255))
    return moved.to(dtype)


def subset(images: ImageRows, rows: Tensor) -> ImageRows:
    """Return the images of these rows: a copy where they are in memory, else without reading them."""
    return images[rows] if isinstance(images, Tensor) else images.subset(rows)


def portions(images: ImageRows) -> list[slice]:
    """Return what to select one after another where each image is worked on alone: all at once if in memory."""
    if isinstance(images, Tensor):
        return [slice(None)]
    starts = range(0, len(images), CHUNK)
    return [*(slice(start, start + CHUNK) for start in starts[:-1]), slice(starts[-1], None)]


def reading_ahead(images: ImageRows, parts: Iterable[Any]) -> AbstractContextManager[None]:
    """Read these rows ahead of their use, part by part, where they are not in memory."""
    return nullcontext() if isinstance(images, Tensor) else images.reading_ahead(parts)


def image_batches(
    images: ImageRows, batch_size: int, device: torch.device, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Return all images in order, so many at a time, on a device and in a floating type."""
    if isinstance(images, Tensor):
        for part in images.split(batch_size):
            yield part.to(device, dtype)
        return
    parts = torch.arange(len(images)).split(batch_size)
    with images.reading_ahead(parts, pinned=device.type == "cuda"):
        for rows in parts:
            yield images.read(rows, device, dtype)
