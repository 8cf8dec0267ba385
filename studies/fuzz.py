"""Read thousands of damaged files of every format, and count what becomes of them.

    python studies/fuzz.py --cases 10000

Each case changes one small file of one format: bytes, numbers to extremes, lines, insertions,
deletions, truncation. It is read as `tdafd upscale` reads it, by a process that may take 2 GB, for
10 seconds at most. It must give a volume or a `VolumeError` in one line; exceptions of any other
kind, ends of the process, and time beyond the limit are faults, and named with the number of their
case, from which ``--first NUMBER --cases 1 --keep FOLDER`` makes the file again.

16,000 cases, a thousand of each of 16 kinds of file, gave 4,975 volumes, 11,025 errors in one line
and no fault; the slowest took 1.4 s, all of them 3 minutes. 16,000 others, read before this was
so, found two: sizes of MetaImages that overflowed (5 cases), and memory taken for NIfTI extensions
by what they claim (4).
MetaImages are not read by SimpleITK, as 24 of 2,000 damaged ones ended the process or hung in it,
and none of 2,000 NRRD files.
"""

import multiprocessing
import random
import re
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Annotated

import nibabel
import numpy as np
import SimpleITK as sitk  # noqa: N813 (its usual name)
import typer

from tdafd_cli.errors import VolumeError
from tdafd_cli.formats.files import open_scan

MOST_SECONDS, MOST_BYTES = 10, 2 << 30
SHAPE = (7, 6, 5)
TEXT_BYTES = 600  # of a file, in which its header is
EXTREMES = (b"0", b"-1", b"1", b"65536", b"2147483647", b"-2147483648", b"4294967296", b"1e308")
EXTREMES += (b"9223372036854775807", b"nan", b"inf", b"-inf", b"1 1 1", b"", b"x", b"1e-320")
NUMBER = re.compile(rb"-?\d+(\.\d+)?(e-?\d+)?")


def write_samples(folder: Path) -> dict[str, list[Path]]:
    """One small scan of each kind, and by kind the files to damage, the one to read first."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 900, SHAPE, np.int16)
    affine = np.diag([0.5, -0.8, 3, 1])
    affine[:3, 3] = [-12, 30, 4]
    many = np.stack([data, data + 1, data + 2], axis=-1)
    for name, image in {
        "nifti.nii": nibabel.Nifti1Image(data, affine),
        "gzipped.nii.gz": nibabel.Nifti1Image(data, affine),
        "nifti2.nii": nibabel.Nifti2Image(data, affine),
        "series.nii": nibabel.Nifti1Image(many, affine),
        "pair.hdr": nibabel.Nifti1Pair(data, affine),
        "analyze.hdr": nibabel.Spm2AnalyzeImage(data, np.diag([-0.5, 0.8, 3, 1])),
        "mgh.mgh": nibabel.MGHImage(data.astype(np.int32), affine),
        "mgz.mgz": nibabel.MGHImage(data.astype(np.int32), affine),
    }.items():
        nibabel.save(image, folder / name)
    scan = sitk.GetImageFromArray(data.T)
    scan.SetSpacing((0.5, 0.8, 3))
    for name, compressed in {
        "raw.nrrd": False,
        "gzip.nrrd": True,
        "beside.nhdr": True,
        "raw.mha": False,
        "zlib.mha": True,
        "beside.mhd": False,
        "zbeside.mhd": True,
    }.items():
        sitk.WriteImage(scan, str(folder / name), useCompression=compressed)
    _write_dicom(folder / "dicom", data)
    kinds = {path.name: [path] for path in sorted(folder.iterdir()) if _is_named(path)}
    for name, beside in {
        "pair.hdr": "pair.img",
        "analyze.hdr": "analyze.img",
        "beside.nhdr": "beside.raw.gz",
        "beside.mhd": "beside.raw",
        "zbeside.mhd": "zbeside.zraw",
    }.items():
        kinds[name].append(folder / beside)
    kinds["dicom"] = [folder / "dicom", *sorted((folder / "dicom").iterdir())]
    return kinds


def _is_named(path: Path) -> bool:
    return path.suffix not in {".img", ".raw", ".zraw", ".mat"} and not path.name.endswith("raw.gz")


def _write_dicom(folder: Path, data: np.ndarray) -> None:
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(data.shape[2]):
        image = sitk.GetImageFromArray(data[:, :, index].T)
        for tag, value in {
            "0008|0060": "MR",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.4",
            "0008|0018": f"1.2.3.4.{index}",
            "0020|0011": "1",
            "0020|0013": str(index + 1),
            "0020|0032": f"-12\\-30\\{4 + 3 * index}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            image.SetMetaData(tag, value)
        image.SetSpacing((0.5, 0.8))
        writer.SetFileName(str(folder / f"{index}.dcm"))
        writer.Execute(image)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Content with one to three changes."""
    for _ in range(rng.randint(1, 3)):
        content = rng.choice(DAMAGES)(content, rng) or b"\0"
    return content


def _bytes_changed(content: bytes, rng: random.Random) -> bytes:
    changed, length = bytearray(content), _part(content, rng)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(length)] = rng.randrange(256)
    return bytes(changed)


def _bit_flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(_part(content, rng))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _extreme_binary(content: bytes, rng: random.Random) -> bytes:
    """A number of 2, 4 or 8 bytes made extreme, in either order of bytes."""
    size = rng.choice((2, 4, 8))
    most = (1 << 8 * size) - 1
    value = rng.choice((0, 1, most, most >> 1, (most >> 1) + 1, 1 << 4 * size))
    floats = {2: np.float16, 4: np.float32, 8: np.float64}[size]
    extreme = rng.choice(
        (
            value.to_bytes(size, rng.choice(("little", "big"))),
            floats(rng.choice((np.nan, np.inf, -np.inf))).tobytes(),
        )
    )
    start = rng.randrange(_part(content, rng)) // 2 * 2
    return content[:start] + extreme + content[start + size :]


def _extreme_text(content: bytes, rng: random.Random) -> bytes:
    numbers = list(NUMBER.finditer(content[:TEXT_BYTES]))
    if not numbers:
        return _extreme_binary(content, rng)
    number = rng.choice(numbers)
    return content[: number.start()] + rng.choice(EXTREMES) + content[number.end() :]


def _lines_moved(content: bytes, rng: random.Random) -> bytes:
    """Two lines swapped, one doubled, or one left out."""
    lines = content[:TEXT_BYTES].split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(3)
    if change == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif change == 1:
        lines.insert(first, lines[second])
    else:
        del lines[first]
    return b"\n".join(lines) + content[TEXT_BYTES:]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(_part(content, rng))]


def _inserted(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(_part(content, rng))
    return content[:start] + rng.randbytes(rng.choice((1, 2, 4, 17, 300))) + content[start:]


def _deleted(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(_part(content, rng))
    return content[:start] + content[start + rng.choice((1, 2, 4, 17, 300)) :]


def _part(content: bytes, rng: random.Random) -> int:
    """Bytes among which to change some: mostly those of the header."""
    return min(len(content), rng.choice((128, TEXT_BYTES, TEXT_BYTES, len(content))))


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_bytes_changed, _bit_flipped, _extreme_binary, _extreme_binary, _extreme_text),
    *(_extreme_text, _lines_moved, _cut, _inserted, _deleted),
)


def make_case(kinds: dict[str, list[Path]], number: int, folder: Path) -> tuple[str, Path]:
    """Write the files of a case into an empty folder; its kind, and what to read."""
    rng = random.Random(number)
    kind = sorted(kinds)[number % len(kinds)]
    first, *others = kinds[kind]
    if first.is_dir():
        shutil.copytree(first, folder / first.name)
        files = [folder / first.name / path.name for path in others]
    else:
        files = [Path(shutil.copy(path, folder)) for path in (first, *others)]
    victim = files[0] if rng.random() < 0.7 else rng.choice(files)
    victim.write_bytes(damaged(victim.read_bytes(), rng))
    return kind, folder / first.name


def outcome(path: Path) -> str:
    """What reading a file comes to: "volume", "refused", or a fault."""
    try:
        scan = open_scan(path)
        for _ in islice(scan.volumes(range(min(scan.count, 3))), 3):
            pass
    except VolumeError as error:
        return "refused" if len(str(error).splitlines()) == 1 else "error of many lines"
    except MemoryError:
        return "out of memory"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "volume"


def _work(
    kinds: dict[str, list[Path]],
    numbers: range,
    at: "Synchronized[int]",
    results: "multiprocessing.SimpleQueue[tuple[int, str, str, float]]",
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    for number in numbers:
        with tempfile.TemporaryDirectory() as name:
            kind, path = make_case(kinds, number, Path(name))
            at.value = number
            started = time.monotonic()
            told = outcome(path)
            results.put((number, kind, told, time.monotonic() - started))


def run(
    kinds: dict[str, list[Path]], numbers: range
) -> tuple[Counter[tuple[str, str]], tuple[float, int]]:
    """Counts by kind and outcome, and the longest time with its case; faults are printed."""
    counts: Counter[tuple[str, str]] = Counter()
    names, slowest = sorted(kinds), (0.0, -1)
    context = multiprocessing.get_context("fork")
    while numbers:
        at, results = context.Value("q", -1), context.SimpleQueue()
        process = context.Process(target=_work, args=(kinds, numbers, at, results))
        process.start()
        seen, since = -1, time.monotonic()
        while process.is_alive() or not results.empty():
            while not results.empty():
                number, kind, told, seconds = results.get()
                slowest = max(slowest, (seconds, number))
                counts[kind, told if told in ("volume", "refused") else "fault"] += 1
                if told not in ("volume", "refused"):
                    print(f"case {number}, {kind}: {told}", flush=True)
            if at.value != seen:
                seen, since = at.value, time.monotonic()
            elif time.monotonic() - since > MOST_SECONDS:
                process.kill()
            process.join(0.05)
        if process.exitcode == 0:
            break
        what = "hang" if process.exitcode == -9 else f"exit code {process.exitcode}"
        kind = names[at.value % len(names)]
        counts[kind, "fault"] += 1
        print(f"case {at.value}, {kind}: {what}", flush=True)
        numbers = range(at.value + 1, numbers.stop)
    return counts, slowest


def main(
    cases: Annotated[int, typer.Option(help="How many.")] = 10_000,
    first: Annotated[int, typer.Option(help="Number of the first.")] = 0,
    keep: Annotated[
        Path | None, typer.Option(help="Empty folder for the files of the first case.")
    ] = None,
) -> None:
    """Print volumes, refusals and faults for each kind of file."""
    with tempfile.TemporaryDirectory() as name:
        kinds = write_samples(Path(name))
        if keep is not None:
            print(*make_case(kinds, first, keep))
        counts, slowest = run(kinds, range(first, first + cases))
    for kind in sorted(kinds):
        row = " | ".join(str(counts[kind, told]) for told in ("volume", "refused", "fault"))
        print(f"| {kind} | {row} |")
    print(f"slowest: {slowest[0]:.2f} s, case {slowest[1]}")


if __name__ == "__main__":
    typer.run(main)
