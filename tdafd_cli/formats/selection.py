"""Selection: which volumes of a file or folder are meant."""

import re
from dataclasses import dataclass

from tdafd_cli.errors import VolumeError

VOLUMES = re.compile(r"-?\d+|(-?\d+)?:(-?\d+)?(:\d+)?")
"""How volumes are named: ``3``, or as Python slices a list: ``0:10``, ``5:``, ``::2``, ``-3:``."""


@dataclass(frozen=True)
class Selection:
    """Which volumes of a file or folder are meant.

    Attributes
    ----------
    series : str, optional
        Of the DICOM series in a folder: its number or its UID.
    part : str, optional
        Of complex numbers, one of `storage.PARTS`.
    volumes : str
        Of a series of volumes, counted from 0: see `VOLUMES`.
    """

    series: str | None = None
    part: str | None = None
    volumes: str = ":"

    def __post_init__(self) -> None:
        if not VOLUMES.fullmatch(self.volumes):
            raise ValueError(f"volumes must be a number or like 0:10, got {self.volumes!r}")

    def numbers(self, count: int) -> range:
        """Numbers of the volumes that are meant of so many, in ascending order.

        Raises
        ------
        VolumeError
            There are none; the message names no file.
        """
        words = [int(word) if word else None for word in self.volumes.split(":")]
        if len(words) == 1:
            number = words[0] or 0
            numbers = range(count)[number : number + 1 or None]
        elif words[2:] == [0]:
            numbers = range(0)
        else:
            numbers = range(count)[slice(*words)]
        if not numbers:
            raise VolumeError(
                f"no volume {self.volumes} among {count}, counted from 0; choose others"
            )
        return numbers
