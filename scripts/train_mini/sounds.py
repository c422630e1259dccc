"""Sounds -> waveforms with labels: the prepared clips, speech and music of Debian packages, noise."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from numpy.typing import NDArray

from scripts.train_mini.work import Rights, Work, components

OUTPUTS = ("sounds.json", "waves.npz")
SAMPLE_RATE_HZ = 16_000
LONGEST_S, LONGEST_MUSIC_S = 20, 150
CLIP = 5 * SAMPLE_RATE_HZ
N_NOISES = 60
DUPLICATE = 0.5
"""Highest cross-correlation from which on two sounds of a label count as one."""
N_CORRELATED = 65_536
LEFT_OUT = "silence"  # a segment without sound never reaches the network

RIGHTS = {
    "esc10": Rights("ESC-10, folds 1-4 (github.com/karolpiczak/ESC-10)", "CC0 and CC BY, clip by clip"),
    "esc50": Rights(
        "ESC-50, part of fold 2 (github.com/caitlinnguyen0/ESC-50)",
        "CC0 and CC BY, clip by clip; CC BY-NC 3.0 for the collection",
    ),
    "animals": Rights(
        "Animal-Sound-Dataset (github.com/YashNita/Animal-Sound-Dataset)", "none stated", clear=False
    ),
    "babycry": Rights(
        "baby_cry_detection (github.com/giulbia/baby_cry_detection)",
        "new BSD for the code; part of the data from ESC-50",
        clear=False,
    ),
    "made": Rights("coloured noise and hum, made here", "MIT"),
    "asterisk-core-sounds-en-wav": Rights("Debian; voice: Allison Smith", "CC BY-SA 3.0"),
    "asterisk-core-sounds-es-wav": Rights("Debian; voice: Allison Smith", "CC BY-SA 3.0"),
    "asterisk-core-sounds-fr-wav": Rights("Debian; voice: June Wallack", "CC BY-SA 3.0"),
    "ktuberling-data": Rights("Debian; KDE's ktuberling", "GPL 2 or later"),
    "fillets-ng-data": Rights("Debian; Fish Fillets NG", "GPL 2 or later"),
    "extremetuxracer-data": Rights("Debian; Extreme Tux Racer", "GPL 2 or later"),
    "lincity-ng-data": Rights("Debian; LinCity-NG", "GPL 2 or later"),
    "neverball-data": Rights("Debian; Neverball", "GPL 2 or later"),
    "pingus-data": Rights("Debian; Pingus", "GPL 2 or later"),
    "sonic-pi-samples": Rights("Debian; samples of Sonic Pi", "CC0"),
}
VERSIONS = {
    "asterisk-core-sounds-en-wav": "1.6.1-1",
    "asterisk-core-sounds-es-wav": "1.6.1-1",
    "asterisk-core-sounds-fr-wav": "1.6.1-1",
    "ktuberling-data": "4:22.12.3-1",
    "fillets-ng-data": "1.0.1-1.1",
    "extremetuxracer-data": "0.8.2-1",
    "lincity-ng-data": "2.9~git20150314-5",
    "neverball-data": "1.6.0+git20180603-3",
    "pingus-data": "0.7.6-5.1",
    "sonic-pi-samples": "3.2.2~repack-8",
}
SHA256 = {
    "asterisk-core-sounds-en-wav": "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    "asterisk-core-sounds-es-wav": "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
    "asterisk-core-sounds-fr-wav": "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
    "ktuberling-data": "fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed",
    "fillets-ng-data": "25de89afd8b1adf7bcace8290248a6a22c89cd42300317e69000e162c032cf84",
    "extremetuxracer-data": "8ce6c82e6fb89549d284f43f6c4b0a9d82e6c0e5da753bee0ef419276a21470c",
    "lincity-ng-data": "8f5e85bd42879abdc7099b035d7a3d7468eceb6b93b52a12270c28f3f3c792f9",
    "neverball-data": "08fc3a2846cab0be57235b82a6ac113ed9612ace43374b8d6ea7eed61700937f",
    "pingus-data": "db503fdc34a7f86a02f2f1a77219b5cf4d813224cd4b13b5f0aad3af3d213805",
    "sonic-pi-samples": "25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d",
}
SPEAKERS = {
    "asterisk-core-sounds-en-wav": "en_A",
    "asterisk-core-sounds-es-wav": "es_A",
    "asterisk-core-sounds-fr-wav": "fr_J",
}
MUSIC = {
    "fillets-ng-data": "usr/share/games/fillets-ng/music",
    "extremetuxracer-data": "usr/share/games/etr/music",
    "lincity-ng-data": "usr/share/games/lincity-ng/music",
    "neverball-data": "",
    "pingus-data": "usr/share/games/pingus/data/music",
}
LOOPS = ("loop", "bass", "drum", "guit", "arovane", "tabla")

Wave = NDArray[np.int16]
Sound = tuple[dict[str, str], Wave]


def run(work: Work) -> None:
    """Write sounds.json, the list, and waves.npz: x, samples one after another, and n, how many of each."""
    rng = np.random.default_rng(work.seed)
    sounds = [*clips(work)]
    with TemporaryDirectory(dir=work.folder, prefix=".unpacked-") as folder:
        for package in VERSIONS:
            unpack(work, package, Path(folder) / package)
        sounds += [*speech(Path(folder), rng), *music(Path(folder), rng)]
    sounds += noises(rng)
    rows, waves = [row for row, _ in sounds], [wave for _, wave in sounds]
    for row, part in zip(rows, split(rows, waves), strict=True):
        row["split"] = part
    print(Counter(row["split"] for row in rows), Counter(row["set"] for row in rows))
    work.save_npz("waves.npz", x=np.concatenate(waves), n=np.array([len(wave) for wave in waves]))
    work.save_json("sounds.json", rows)


def unpack(work: Work, package: str, folder: Path) -> None:
    """The files of a Debian package, into `folder`."""
    version = VERSIONS[package]
    name = f"{package}_{version.replace(':', '%3a')}_all.deb"
    deb = work.fetch(["apt-get", "download", f"{package}={version}"], name, SHA256[package])
    subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)


def load(path: Path, longest_s: float) -> Wave:
    """(S,) samples at 16 kHz, mono; of a damaged file what comes before the damage."""
    blocks = [np.zeros(0, np.int16)]
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for frame in container.decode(audio=0):
                blocks += [block.to_ndarray()[0] for block in resampler.resample(frame)]
                if sum(map(len, blocks)) > longest_s * SAMPLE_RATE_HZ:
                    break
    except av.FFmpegError:
        pass
    return np.concatenate(blocks)


def entry(file: str, rights: str, kind: str, label: str, group: str) -> dict[str, str]:
    """One line of sounds.json; what one speaker says or one recording gives is a group."""
    return {
        "file": file,
        "set": kind,
        "label": label,
        "group": group,
        "licence": RIGHTS[rights].licence,
    }


def clips(work: Work) -> Iterator[Sound]:
    """The prepared files."""
    for row in work.listed("audio.jsonl", RIGHTS):
        kind, label, stem = row["set"], row["label"], Path(row["file"]).stem
        if label == LEFT_OUT:
            continue
        group = kind + label + stem
        if kind in ("esc10", "esc50"):
            group = "fs" + stem.split("-")[1]  # the recording on freesound.org
        elif kind == "babycry":
            group = "bc" + re.sub(r"_\d+$", "", stem)
        sound = entry(row["file"], kind, kind, label, group)
        sound["licence"] = row.get("licence", sound["licence"])
        yield sound, load(work.data / row["file"], LONGEST_S)[: LONGEST_S * SAMPLE_RATE_HZ]


def speech(folder: Path, rng: np.random.Generator) -> Iterator[Sound]:
    """Prompts and lines of dialogue, strung together."""
    for package, speaker in SPEAKERS.items():
        files = sorted(f for f in (folder / package).rglob("*.wav") if "silence" not in str(f))
        rng.shuffle(files)
        yield from strung(files[:260], package, speaker, 40, rng)
    for language in sorted((folder / "ktuberling-data/usr/share/ktuberling/sounds").iterdir()):
        files = sorted(f for f in language.rglob("*") if f.suffix in (".ogg", ".wav", ".oga"))
        if len(files) >= 20:
            rng.shuffle(files)
            yield from strung(files[:80], "ktuberling-data", f"kt_{language.name}", 12, rng)
    files = sorted((folder / "fillets-ng-data/usr/share/games/fillets-ng/sound").rglob("en/*.ogg"))
    rng.shuffle(files)
    yield from strung(files, "fillets-ng-data", "fillets_en", 25, rng)


def strung(
    files: list[Path], package: str, speaker: str, most: int, rng: np.random.Generator
) -> Iterator[Sound]:
    """Clips of five seconds, at most `most`, each of several files with pauses between."""
    said, n_clips = np.zeros(0, np.int16), 0
    for file in files:
        if n_clips == most:
            return
        wave = load(file, np.inf)
        if len(wave) < SAMPLE_RATE_HZ // 10:
            continue
        pause = np.zeros(int(rng.uniform(0.05, 0.5) * SAMPLE_RATE_HZ), np.int16)
        said = np.concatenate([said, wave, pause])
        if len(said) >= CLIP:
            yield entry(f"{package}/{speaker}/{n_clips}", package, "debian", "speech", speaker), said[:CLIP]
            said, n_clips = np.zeros(0, np.int16), n_clips + 1


def music(folder: Path, rng: np.random.Generator) -> Iterator[Sound]:
    """Eight clips of each piece, and loops repeated."""
    for package, place in MUSIC.items():
        for file in sorted((folder / package / place).rglob("*")):
            if file.suffix not in (".ogg", ".wav", ".mp3"):
                continue
            wave = load(file, LONGEST_MUSIC_S)
            if len(wave) < 2 * CLIP:
                continue
            for k, start in enumerate(rng.integers(0, len(wave) - CLIP, 8)):
                row = entry(f"{package}/{file.name}/{k}", package, "debian", "music", f"m_{file.name}")
                yield row, wave[start : start + CLIP]
    package = "sonic-pi-samples"
    for file in sorted((folder / package / "usr/share/sonic-pi/samples").iterdir()):
        wave = load(file, np.inf) if file.name.startswith(LOOPS) else np.zeros(0, np.int16)
        if len(wave) >= SAMPLE_RATE_HZ // 2:
            row = entry(f"{package}/{file.name}", package, "debian", "music", f"m_{file.name}")
            yield row, np.tile(wave, CLIP // len(wave) + 1)[:CLIP]


def noises(rng: np.random.Generator) -> Iterator[Sound]:
    """White to pink, every third with the hum of the mains."""
    frequencies = np.fft.rfftfreq(CLIP, 1 / SAMPLE_RATE_HZ)
    frequencies[0] = 1
    times = np.arange(CLIP) / SAMPLE_RATE_HZ
    for k in range(N_NOISES):
        white = np.fft.rfft(rng.standard_normal(CLIP))
        noise = np.fft.irfft(white * frequencies ** -rng.uniform(0, 1.2))
        noise /= np.abs(noise).max()
        if k % 3 == 0:
            base = rng.choice([50, 60, 100, 120])
            hum = sum(np.sin(2 * np.pi * base * h * times) / h for h in range(1, 6)) / 2
            noise = 0.3 * noise + hum
            noise /= np.abs(noise).max()
        yield (
            entry(f"noise/{k}", "made", "made", "noise", f"noise{k}"),
            (noise * rng.uniform(0.02, 0.5) * 32_767).astype(np.int16),
        )


def split(rows: list[dict[str, str]], waves: list[Wave]) -> list[str]:
    """Fold 4 of ESC-10 is for the test, half of fold 3 for validation; of other labels a fifth and a tenth.

    Groups and near-duplicates stay together; the MD5 of the group decides.
    """
    first = {row["group"]: i for i, row in reversed([*enumerate(rows)])}
    pairs = [(i, first[row["group"]]) for i, row in enumerate(rows)]
    splits = ["train"] * len(rows)
    of_label: defaultdict[str, list[list[int]]] = defaultdict(list)
    for members in components(len(rows), [*pairs, *duplicates(rows, waves)]):
        folds = {Path(rows[i]["file"]).name[0] for i in members if rows[i]["set"] == "esc10"}
        if not folds:
            of_label[rows[members[0]]["label"]].append(members)
            continue
        validates = folds == {"3"} and int(digest(rows, members), 16) % 2 == 0
        for i in members:
            splits[i] = "test" if "4" in folds else "val" if validates else "train"
    for label in of_label.values():
        n_before, n = 0, sum(map(len, label))
        for members in sorted(label, key=lambda members: digest(rows, members)):
            for i in members:
                splits[i] = "test" if n_before < 0.2 * n else "val" if n_before < 0.3 * n else "train"
            n_before += len(members)
    return splits


def digest(rows: list[dict[str, str]], members: list[int]) -> str:
    """Of the first member's group: as good as a random number, and always the same."""
    return hashlib.md5(rows[members[0]]["group"].encode()).hexdigest()


def duplicates(rows: list[dict[str, str]], waves: list[Wave]) -> Iterator[tuple[int, int]]:
    """Pairs of clips with the same label that are the same recording, shifted or not, heard at 4 kHz."""
    of_label: defaultdict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        if row["set"] not in ("debian", "made"):
            of_label[row["label"]].append(i)
    for members in of_label.values():
        spectra = np.stack(
            [np.fft.rfft(coarse(waves[i]), N_CORRELATED).astype(np.complex64) for i in members]
        )
        for k in range(1, len(members)):
            correlation = np.fft.irfft(spectra[k] * spectra[:k].conj(), N_CORRELATED)
            for other in np.flatnonzero(np.abs(correlation).max(axis=1) > DUPLICATE):
                yield members[k], members[int(other)]


def coarse(wave: Wave) -> NDArray[np.float32]:
    """A quarter of the samples, without mean, of norm one."""
    means = wave[: len(wave) // 4 * 4].astype(np.float32).reshape(-1, 4).mean(axis=1)
    means -= means.mean()
    return means / (np.linalg.norm(means) + np.float32(1e-9))
