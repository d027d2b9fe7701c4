"""One detector for many visitors: faces that wait for it are judged together, whoever brought them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import TypeVar

import torch
from torch import Tensor

from kfd.detection import Detection
from kfd.detector import BATCH, Detector

Result = TypeVar("Result")


@dataclass(eq=False)
class _Asked:
    """Crops that wait, (B, 3, S, S), and what came of them: one of found and error."""

    crops: Tensor
    found: Detection | None = None
    error: Exception | None = None

    @property
    def is_over(self) -> bool:
        return self.found is not None or self.error is not None


class SharedDetector(Detector):
    """A detector that any number of threads may ask at once.

    One pass runs at a time; what is asked meanwhile goes together into the next, up to BATCH faces. Passes
    side by side would share the same processors or GPU and all end late. A face's numbers do not depend on
    whose faces were judged with it, but for the last bits, as sums of another batch size are rounded.
    """

    def __init__(self, detector: Detector):
        parts = detector.model, detector.decision, detector.digest, detector.device, detector.familiar
        super().__init__(*parts)
        self._waiting: list[_Asked] = []
        self._busy = False
        self._moved = Condition()

    def __call__(self, crops: Tensor) -> Detection:
        """Judge face crops; see Detector."""
        asked = _Asked(crops)
        with self._moved:
            self._waiting.append(asked)
            self._moved.wait_for(lambda: asked.is_over or not self._busy)
            batch = [] if asked.is_over else self._begin_with(asked)
        if batch:
            self._finish(lambda: self._judge(batch))
        if asked.error is not None:
            raise asked.error
        assert asked.found is not None
        return asked.found

    def grad_cam(self, crops: Tensor) -> Tensor:
        """Map what the score of face crops rests on; see Detector."""
        with self._moved:
            self._moved.wait_for(lambda: not self._busy)
            self._busy = True
        return self._finish(lambda: super(SharedDetector, self).grad_cam(crops))

    def _begin_with(self, first: _Asked) -> list[_Asked]:
        """Take who goes into the next pass off the list: one who must, and others as they came."""
        self._busy = True
        batch, room = [first], BATCH - len(first.crops)
        for other in self._waiting:
            if other is not first and len(other.crops) <= room:
                batch.append(other)
                room -= len(other.crops)
        self._waiting = [asked for asked in self._waiting if asked not in batch]
        return batch

    def _finish(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        finally:
            with self._moved:
                self._busy = False
                self._moved.notify_all()

    def _judge(self, batch: list[_Asked]) -> None:
        """Judge a batch; where that fails, each alone, so that nobody's picture spoils another's."""
        try:
            if len(batch) == 1:
                batch[0].found = super().__call__(batch[0].crops)
                return
            found, start = super().__call__(torch.cat([asked.crops for asked in batch])), 0
            for asked in batch:  # copies: a view would keep the maps of all for as long as one is kept
                asked.found = found[torch.arange(start, start + len(asked.crops))]
                start += len(asked.crops)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for asked in batch:
                asked.found = None
                self._judge([asked])
