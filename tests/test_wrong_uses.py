"""Wrong uses, written down by trying: each ends in one line that says what, why and what to do.

The folder that they are tried in is the same for all, as none may leave anything in it.
"""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from tdafd_cli.cli import app
from tdafd_cli.networks.tdafd import TDAFD, TDAFDConfig
from tdafd_cli.weights.file import save_weights

SCAN = "upscale scan.nii.gz out.nii.gz"
TRAIN = "train --data data --output new"

FILES = {
    "text.nii": b"no volume",
    "empty.nii": b"",
    "scan.mif": b"mrtrix image\ndim: 9,8,7\n",
    "scan+orig.HEAD": b"\ntype = string-attribute\nname = HISTORY_NOTE\n",
    "photo.png": b"\x89PNG\r\n\x1a\n" + bytes(600),
    "photo.nii.gz": b"\xff\xd8\xff" + bytes(600),
    "scan.json": b'{"EchoTime": 0.003}',
    "net.pth": b"PK\x03\x04",
    "dicom/1": bytes(128) + b"DICM",
    "run/checkpoint.pt": b"none",
}
RECIPES = {
    "typo": "stepz = 5",
    "deep": "[dataset]\npach = 16",
    "text": "steps = 'many'",
    "half": "steps = 1.5",
    "negative": "steps = -3",
    "rate": "learning_rate = -0.1",
    "optimiser": "optimiser = 'sgd'",
    "patch": "[dataset]\npatch = 17",
    "batch": "[dataset]\nbatch = 0",
    "broken": "steps = \nseed = 3",
    "table": "dataset = 3",
    "list": "[dataset]\nsources = 3",
    "source": "[[dataset.sources]]\npatern = 'x'",
    "sizes": "[[dataset.sources]]\nsizes_mm = ['a']",
    "nothing": "[dataset]\npatch = 16\n[[dataset.sources]]\npattern = 'x/*'",
    "scale": "[network]\nscale = 7",
    "channels": "[network]\nchannels = 0",
    "share": "[dataset.degradation]\nkspace = 2.0",
    "often": "[dataset.processing]\nprobability = 2.0",
    "small": "steps = 1\n[dataset]\npatch = 16",
}

# What is typed; what the line says.
USES = [
    # Words of the command
    ("upscal scan.nii.gz out.nii.gz", "no such command 'upscal', but there is 'upscale'"),
    ("scan.nii.gz out.nii.gz", "no such command 'scan.nii.gz'; see `tdafd --help`"),
    ("--scale 2 scan.nii.gz out.nii.gz", "no such option: --scale; see `tdafd --help`"),
    ("upscale", "INPUT is missing; see `tdafd upscale --help`"),
    ("upscale scan.nii.gz", " is missing; see `tdafd upscale --help`"),
    (f"{SCAN} more.nii.gz", "'more.nii.gz' is a file; for several volumes, end with a folder; "),
    (f"{SCAN} --scle 2", "no such option: --scle, but there is --scale; see "),
    (f"{SCAN} --scale", "option '--scale' requires an argument; see "),
    (f"{SCAN} --scale 5", "--scale: 5 is for one axis alone: use 1x1x5, or add --slice-axis; "),
    (f"{SCAN} --scale two", "--scale: 'two' is neither a number nor of the form 1x1x4; "),
    (f"{SCAN} --scale 1.5", "--scale: '1.5' is neither a number nor of the form 1x1x4; "),
    (f"{SCAN} --precision half", "--precision: 'half' is not one of 'auto', 'fp32', 'bf16', "),
    (f"{SCAN} --ensemble 3", "--ensemble: '3' is not one of 'auto', '1', '2', '4', '8'; see "),
    (f"{SCAN} --consistency sinc", "--consistency: 'sinc' is not one of 'auto', 'none', "),
    (f"{SCAN} --dtype float16", "--dtype: 'float16' is not one of 'input', 'uint8', "),
    (f"{SCAN} --labels maybe", "--labels: 'maybe' is not one of 'auto', 'yes', 'no'; see "),
    (f"{SCAN} --device gpu", "--device: 'gpu' is none of auto, cpu, cuda, cuda:N, mps; see "),
    (f"{SCAN} --device cuda:99", "cuda:99: "),
    (f"{SCAN} --tile big", "--tile: 'big' is neither auto nor a number of voxels; see "),
    (f"{SCAN} --tile 32", "--tile: 32 is not above the overlap of 48; lower --overlap; see "),
    (f"{SCAN} --overlap -3", "--overlap: -3 is below 0, the least; see "),
    (f"{SCAN} --overlap 500", "--overlap: 500 is above 256, the most; see "),
    (f"{SCAN} --batch-size 0", "--batch-size: 0 is below 1, the least; see "),
    (f"{SCAN} --threads 0", "--threads: 0 is below 1, the least; see "),
    # Places of upscale
    ("upscale none.nii out.nii.gz", "none.nii: no such file; check the name"),
    ("upscale data out.nii.gz", "data: a folder without DICOM files; name one volume in it"),
    (
        "upscale dicom out.nii.gz",
        "dicom: 1 is damaged, or of a kind that is not read here; copy it ",
    ),
    ("upscale scan.nii.gz out.tif", "out.tif: unknown kind of file; end its name in .nii.gz, "),
    ("upscale scan.nii.gz no/out.nii", "no does not exist; create it first"),
    ("upscale scan.nii.gz done.nii.gz", "done.nii.gz: exists; choose another name, or add --over"),
    ("upscale scan.nii.gz scan.nii.gz --overwrite", "is the input, which is never replaced; ch"),
    (f"{SCAN} --preview out.jpg", "--preview: 'out.jpg' does not end in .png; see "),
    (f"{SCAN} --preview photo.png", "photo.png: exists; choose another name, or add --overwrite"),
    # Volumes
    ("upscale series.nii.gz out.nii.gz --volumes 7:9", "series.nii.gz: "),
    ("upscale series.nii.gz out.nii.gz --volumes first", "--volumes: 'first' is neither a numb"),
    ("info series.nii.gz", "got shape (9, 8, 7, 3); "),
    ("upscale flat.nii.gz out.nii.gz", "expected 3 dimensions, got shape (9, 8); stack the "),
    ("upscale constant.nii.gz out.nii.gz", "all 504 voxels are 3, so there is nothing to upsc"),
    ("upscale nan.nii.gz out.nii.gz", "1 of 504 voxels are NaN or infinite; "),
    ("upscale complex.nii.gz out.nii.gz", "expected real numbers, got complex64; take the mag"),
    ("upscale cut.nii.gz out.nii.gz", "gzip data cut short or damaged; copy the file again"),
    ("upscale text.nii out.nii.gz", "text.nii: not a volume of any format known here; convert i"),
    ("upscale empty.nii out.nii.gz", "empty.nii: empty file; copy or download it again"),
    ("upscale scan.mif out.nii.gz", "but an MRtrix volume; convert it with `mrconvert IN O"),
    ("upscale scan+orig.HEAD out.nii.gz", "but an AFNI header; convert it with `3dAFNItoNIFTI"),
    ("upscale photo.png out.nii.gz", "but a PNG picture; give the scan that it shows"),
    ("upscale photo.nii.gz out.nii.gz", "but a JPEG picture; give the scan that it shows"),
    ("upscale scan.json out.nii.gz", "but JSON, a scan's sidecar perhaps; give the scan beside"),
    # Weights
    (f"{SCAN} --weights tdafd-x9", "tdafd-x9: unknown weights; there are tdafd-x2, "),
    (f"{SCAN} --weights none.safetensors", "cannot read weights: No such file or directory; ch"),
    (f"{SCAN} --weights net.pth", "pickled checkpoints are refused, as opening one can run code; "),
    (f"{SCAN} --weights half.safetensors", "not a whole safetensors file: "),
    (f"{SCAN} --weights flipped.safetensors", "its numbers are not those that were saved; "),
    (f"{SCAN} --weights other.safetensors", "other.safetensors: not weights of this program: f"),
    (f"{SCAN} --scale 3 --weights tiny.safetensors", "made for scale 2, not 3; use tdafd-x3"),
    ("weights delete", "no such command 'delete'; see `tdafd weights --help`"),
    ("weights info", "NAME|PATH is missing; see `tdafd weights info --help`"),
    ("weights info none.safetensors", "cannot read weights: No such file or directory"),
    ("weights path nope", "nope: unknown weights; there are tdafd-x2, tdafd-x3, tdafd-x4, or give"),
    ("weights download", "NAME: give either names or --all; see `tdafd weights download --help`"),
    ("weights download tdafd-x2", "no mirror to download from is known; set TDAFD_WEIGHTS_URL"),
    ("weights download --all --to scan.nii.gz", "Not a directory; choose another folder"),
    ("weights verify flipped.safetensors", "flipped: not intact; copy or train it anew"),
    ("weights verify nope", "nope: not intact; `tdafd weights list` shows what there is"),
    ("weights clean tdafd-x2", "unexpected extra argument: tdafd-x2; see `tdafd weights clean "),
    # Training
    ("train --data data", "--output is missing; see `tdafd train --help`"),
    ("train --data none --output new", "none: not a folder; give the folder that holds the volum"),
    ("train --data bare --output new", "bare: holds no volume; their names end in .nii.gz, "),
    ("train --data scan.nii.gz --output new", "not a folder; give the folder that holds the vo"),
    ("train --data data --output scan.nii.gz", "exists and is not a folder; choose another name"),
    ("train --data data --output run", "run: holds a run already; add --resume or choose another"),
    (f"{TRAIN} --resume", "no checkpoint to resume from; start without --resume"),
    (f"{TRAIN} --minutes soon", "--minutes: 'soon' is not a number; see `tdafd train --help`"),
    (f"{TRAIN} --steps 0", "--steps: 0 is below 1, the least; see `tdafd train --help`"),
    (
        f"{TRAIN} --scale 3",
        "is smaller than a patch, which takes 48 voxels along each axis; leave ",
    ),
    (f"{TRAIN} --validation none", "none: no such file or folder to validate on; check the name"),
    (f"{TRAIN} --validation data --recipe small.toml", "is in both training and validation; k"),
    (f"{TRAIN} --init none.safetensors", "cannot read weights: No such file or directory; check"),
    (f"{TRAIN} --recipe none.toml", "cannot read the recipe: No such file or directory; check "),
    (f"{TRAIN} --recipe scan.nii.gz", "not TOML: no text in UTF-8; save the recipe as that"),
    # Recipes
    (f"{TRAIN} --recipe typo.toml", "unknown name stepz; did you mean steps?; mend the recipe"),
    (f"{TRAIN} --recipe deep.toml", "unknown name pach under [dataset]; did you mean patch?"),
    (f"{TRAIN} --recipe source.toml", "patern under [dataset.sources]; did you mean pattern?"),
    (f"{TRAIN} --recipe text.toml", "steps must be a whole number, got 'many'; mend the recipe"),
    (f"{TRAIN} --recipe half.toml", "steps must be a whole number, got 1.5; mend the recipe"),
    (f"{TRAIN} --recipe negative.toml", "steps cannot be -3; it is 0 or more; mend the recipe"),
    (f"{TRAIN} --recipe rate.toml", "learning_rate cannot be -0.1; it is 0 or more; mend the r"),
    (f"{TRAIN} --recipe batch.toml", "dataset.batch cannot be 0; it is more; mend the recipe"),
    (f"{TRAIN} --recipe share.toml", "dataset.degradation.kspace cannot be 2.0; it is at most"),
    (f"{TRAIN} --recipe often.toml", "dataset.processing.probability cannot be 2.0; it is at m"),
    (f"{TRAIN} --recipe optimiser.toml", "optimiser must be muon or adamw, got 'sgd'; mend the"),
    (f"{TRAIN} --recipe patch.toml", "patch 17 is not a multiple of the network's grid of 16; "),
    (f"{TRAIN} --recipe broken.toml", "not TOML: Invalid value ("),
    (f"{TRAIN} --recipe table.toml", "dataset must be a table, [dataset], got 3; mend the rec"),
    (f"{TRAIN} --recipe list.toml", "must be a list, written [[dataset.sources]], got 3; mend"),
    (f"{TRAIN} --recipe sizes.toml", "dataset.sources.sizes_mm must be a number, got 'a'; mend"),
    (f"{TRAIN} --recipe nothing.toml", "no volume matches the source pattern 'x/*'; mend it in"),
    (f"{TRAIN} --recipe scale.toml", "scale must be one of (2, 3, 4), or of (2, 3, 4, 5, 6) for "),
    (f"{TRAIN} --recipe channels.toml", "network.channels cannot be 0; it is more; mend the re"),
    # Benchmark
    ("benchmark --data none", "none: no such file or folder; check the name"),
    ("benchmark --data bare", "bare: holds no volume; their names end in .nii.gz, "),
    ("benchmark --method other", "'other' is not of the form NAME='COMMAND {input} {output} "),
    ("benchmark --method other=program", "its command lacks {input} and {output}, where the fil"),
    ("benchmark --patch 5", "--patch: 5 is below 16, the least; see `tdafd benchmark --help`"),
    ("benchmark --degradation blur", "--degradation: 'blur' is not one of 'kspace', 'gaussian'"),
    ("benchmark --json data", "data: exists and is not a file; choose another name"),
    ("benchmark --csv no/out.csv", "no does not exist; create it first"),
    ("benchmark --report scan.nii.gz", "scan.nii.gz: exists and is not a folder; choose another"),
]

# The user's configuration file, or a variable and its value; what is typed; what the line says.
SETTINGS = [
    ("[weights", "weights download tdafd-x2", "not TOML: Expected ']' at the end of a table"),
    ("[weigths]\nurl = 'https://x'", "weights download tdafd-x2", "weigths; did you mean weights?"),
    ("[weights]\nurls = 'https://x'", "weights download tdafd-x2", "urls; did you mean url?"),
    ("[weights]\nurl = 3", "weights download tdafd-x2", "must be text, got 3; put it in quo"),
    ("[weights]\nurl = 'ftp://x'", "weights download tdafd-x2", "not the address of a mirror; giv"),
    ("weights = 'https://x'", "weights download tdafd-x2", "weights must be a table; write [weigh"),
    (("TDAFD_WEIGHTS_URL", "nonsense"), "weights download tdafd-x2", "not the address of a mirro"),
    (
        ("TDAFD_WEIGHTS_URL", "file:///no"),
        "weights download tdafd-x2",
        "cannot be read: No such fi",
    ),
    (("TDAFD_REGISTRY", "none.toml"), "weights list", "cannot read the registry: No such file or"),
    (("TDAFD_REGISTRY", "scan.nii.gz"), "weights list", "not TOML: no text in UTF-8; save the re"),
    (("TDAFD_REGISTRY", "deep.toml"), "weights list", "not a registry: 'dataset': unknown pach; "),
]

FOREIGN = ("Input should", "Value error", "data class", "Traceback", "dacite", "pydantic", "Errno")


def save(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user has at hand: scans of all sorts, files that are none, weights, recipes."""
    folder = tmp_path_factory.mktemp("user")
    rng = np.random.default_rng(0)
    scan = rng.integers(0, 900, (9, 8, 7), dtype=np.int16)
    scans = {
        "scan": scan,
        "done": scan,
        "series": np.stack([scan] * 3, axis=3),
        "flat": scan[..., 0],
        "constant": np.full_like(scan, 3),
        "nan": np.where(np.arange(scan.size).reshape(scan.shape) == 5, np.nan, scan),
        "complex": scan.astype(np.complex64),
        "data/head": rng.integers(0, 900, (40, 40, 40), dtype=np.int16),
    }
    for name, data in scans.items():
        save(folder / f"{name}.nii.gz", data)
    contents = {**FILES, **{f"{n}.toml": t.encode() for n, t in RECIPES.items()}}
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "bare").mkdir()
    whole = (folder / "scan.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    sizes = {"channels": 4, "modules": 2, "attention_channels": 2, "token_channels": 4, "heads": 1}
    save_weights(folder / "tiny.safetensors", TDAFD(TDAFDConfig(**sizes)), {})
    weights = bytearray((folder / "tiny.safetensors").read_bytes())
    (folder / "half.safetensors").write_bytes(weights[:2000])
    (folder / "other.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    weights[-6] ^= 1
    (folder / "flipped.safetensors").write_bytes(weights)
    return folder


def listing(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refused(folder, tmp_path, monkeypatch):
    """Function that types words in the user's folder and gives the one line they end in."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("TDAFD_CACHE", str(tmp_path / "cache"))
    for name in ("TDAFD_WEIGHTS_URL", "TDAFD_REGISTRY", "TDAFD_OFFLINE"):
        monkeypatch.delenv(name, raising=False)

    def refused(words: str) -> str:
        before = listing(folder)
        result = CliRunner().invoke(app, words.split(), catch_exceptions=False)
        assert result.exit_code in (1, 2)
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert "; " in result.stderr, "says what to do"
        assert not [phrase for phrase in FOREIGN if phrase in result.stderr]
        assert listing(folder) == before
        assert listing(tmp_path / "cache") == set()
        return str(result.stderr)

    return refused


def test_there_are_sixty_and_more():
    assert len({words for words, _ in USES}) + len(SETTINGS) > 60


@pytest.mark.parametrize(("words", "message"), USES, ids=[words for words, _ in USES])
def test_a_wrong_use_is_told_in_one_line(refused, words, message):
    assert message in refused(words)


@pytest.mark.parametrize(("setting", "words", "message"), SETTINGS)
def test_a_wrong_setting_is_told_in_one_line(
    refused, tmp_path, monkeypatch, setting, words, message
):
    if isinstance(setting, tuple):
        monkeypatch.setenv(*setting)
    else:
        (tmp_path / "tdafd").mkdir()
        (tmp_path / "tdafd" / "config.toml").write_text(setting, encoding="utf-8")
    assert message in refused(words)


def test_more_threads_than_cores_are_capped_and_told(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["upscale", "scan.nii.gz", str(tmp_path / "out.nii.gz"), "--threads", "4000"]
    result = CliRunner().invoke(app, [*words, "--weights", "tiny.safetensors"])
    assert result.exit_code == 0
    told = f"note: --threads 4000: this machine has {os.cpu_count()}, which are used\n"
    assert result.stderr.startswith(told)
