"""A synthetic set from a fitted generator, written as it is painted: thousands of samples never
stand in memory together.

    S/images/syn000000.png   S/labels/syn000000.png   S/subjects.csv      what `semiseg data import --format folder --source S` reads
    S/provenance.csv         name, seed, mask source, source mask and its subject, style, bent or not, generator hash
    S/generator.json         settings, budget and hash of the generator

Sample i depends on the generator, the seed and i alone; so ``keep``, a list of names, gives a part
of a set, pixel for pixel.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from semiseg.data.info import file_hash
from semiseg.data.source import progress_bar
from semiseg.errors import UserError
from semiseg.generators import masks, paint, vae
from semiseg.generators import settings as setting
from semiseg.generators.fit import Budget, program_of, read_budget
from semiseg.generators.gan_program import Program
from semiseg.generators.settings import Settings
from semiseg.train.checkpoint import load_weights
from semiseg.types import IGNORE

FIELDS = ("name", "seed", "masks", "source_mask", "source_subject", "style", "bent", "generator")
SOURCES = ("real", "varied", "vae", "interpolated")
STYLES = ("real", "prior")
BATCH = 8
VAE_STEPS = 600


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A generator read from its folder.

    ``hash`` is the first 16 hexadecimal digits of its weights file's SHA-256.
    """

    settings: Settings
    program: Program
    weights: Any
    budget: Budget
    header: dict[str, Any]
    hash: str


class Sample(NamedTuple):
    """One synthetic pair, with where it comes from."""

    name: str
    image: np.ndarray  # (H, W, C) uint8
    label: np.ndarray  # (H, W) uint8
    provenance: tuple[str, ...]


def load(folder: str | Path, root: str | None = None) -> Fitted:
    """The generator in ``folder``, with the budget it was fitted on (whose masks and styles it
    samples).

    Raises:
      UserError: no finished fit there, or a data set that is no longer the one it was fitted on.
    """
    folder = Path(folder)
    settings = setting.load(folder / "config.yaml")
    if root is not None:
        settings = dataclasses.replace(settings, root=root)
    if not (folder / "weights.safetensors").exists():
        raise UserError(
            f"{folder}: the fit is not finished; run the same `semiseg gan fit` again, it goes "
            f"on from its checkpoint"
        )
    budget = read_budget(settings)
    program = program_of(settings, budget.images.shape[-1], len(budget.classes))
    like = jax.eval_shape(
        lambda: program.generator.init(
            jax.random.key(0), program.channels, program.classes, program.image_size
        )
    )
    weights, header = load_weights(folder / "weights.safetensors", like)
    if header.get("fingerprint") != budget.fingerprint:
        raise UserError(
            f"{folder}: data set {settings.data!r} is not the one the generator was fitted on; "
            f"fit it again"
        )
    return Fitted(
        settings, program, weights, budget, header, file_hash(folder / "weights.safetensors")[:16]
    )


def stream(
    fitted: Fitted,
    names: list[str],
    *,
    seed: int = 0,
    source: str = "varied",
    style: str = "real",
    given: np.ndarray | None = None,
) -> Iterator[Sample]:
    """Synthetic pairs, one by one, for the given names.

    Args:
      source: ``real`` masks of the budget, ``varied`` (turned, bent, topology checked), ``vae``
        (new ones) or ``interpolated`` (between two).
      style: ``real``: near the style of an image of the budget, or between two; ``prior``: a normal
        draw.
      given: masks ``(M, H, W)`` of one's own, in place of the budget's.
    """
    if source not in SOURCES or style not in STYLES:
        raise UserError(
            f"masks {source!r}, style {style!r}: choose masks from {', '.join(SOURCES)} and "
            f"style from {', '.join(STYLES)}"
        )
    budget, program, classes = fitted.budget, fitted.program, len(fitted.budget.classes)
    pool = budget.labels[budget.shown] if given is None else given
    masks.check_size(pool, program.image_size, "masks")
    mean, deviation = paint.encode(
        program, fitted.weights, budget.images[budget.shown], budget.labels[budget.shown]
    )
    maker = _vae(fitted, pool) if source in ("vae", "interpolated") else None
    z, k = program.generator.style, program.generator.noises(program.image_size)
    for start in range(0, len(names), BATCH):
        part = names[start : start + BATCH]
        rngs = [np.random.default_rng([seed, zlib.crc32(name.encode())]) for name in part]
        drawn = [_mask(rng, pool, source, classes, maker, fitted.settings) for rng in rngs]
        codes = [
            _code(rng, mean, deviation, style)
            if not program.generator.joint
            else (rng.normal(size=z), "prior")
            for rng in rngs
        ]
        noise = [rng.normal(size=k) for rng in rngs]
        full = [
            np.stack(rows + rows[-1:] * (BATCH - len(part)))
            for rows in ([d[0] for d in drawn], [c[0] for c in codes], noise)
        ]
        image, made = paint.paint(program, fitted.weights, *full)
        made = masks.without_regions(made, classes)
        for i, name in enumerate(part):
            _, j, bent = drawn[i]
            joint = program.generator.joint
            case = budget.shown[j] if j is not None and not joint and given is None else None
            where = ("", "") if case is None else (budget.names[case], budget.subjects[case])
            yield Sample(
                name,
                image[i],
                made[i],
                (
                    name,
                    str(seed),
                    "joint" if joint else source,
                    *where,
                    codes[i][1],
                    str(bent),
                    fitted.hash,
                ),
            )


def sample_set(
    fitted: Fitted, out: str | Path, n: int, *, seed: int = 0, source: str = "varied", style: str = "real", format: str = "png",
    keep: str | Path | None = None, progress: bool = True,
) -> dict[str, int]:  # fmt: skip
    """Write a set of ``n`` pairs, or of those among them that the file ``keep`` names; returns
    ``written`` and ``dropped``.
    """
    out = Path(out)
    if n < 2:
        raise UserError(
            f"--n {n}: a set needs at least 2 samples, one of which is its validation split"
        )
    if seed < 0:
        raise UserError(f"--seed {seed}: must be at least 0")
    if format not in ("png", "nifti"):
        raise UserError(f"--format {format}: choose png or nifti")
    if format == "nifti" and fitted.program.channels != 1:
        raise UserError(
            f"--format nifti: images have {fitted.program.channels} channels; choose png"
        )
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: is not empty; choose another --out")
    names = [f"syn{i:06d}" for i in range(n)]
    if keep is not None:
        names = _kept(Path(keep), names)
    for kind in ("images", "labels"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    record = {
        "hash": fitted.hash,
        **fitted.header,
        "sampling": {"n": n, "seed": seed, "masks": source, "style": style, "kept": len(names)},
    }
    (out / "generator.json").write_text(json.dumps(record, indent=1))
    with (
        (out / "provenance.csv").open("w", newline="") as one,
        (out / "subjects.csv").open("w", newline="") as two,
    ):
        provenance, subjects = (
            csv.writer(one, lineterminator="\n"),
            csv.writer(two, lineterminator="\n"),
        )
        provenance.writerow(FIELDS)
        subjects.writerow(("name", "subject", "split"))
        for sample in progress_bar(
            stream(fitted, names, seed=seed, source=source, style=style),
            "sample",
            len(names),
            progress,
        ):
            _write(out, sample, format)
            provenance.writerow(sample.provenance)
            subjects.writerow(
                (sample.name, sample.name, "val" if sample.name == names[-1] else "train")
            )
    return {"written": len(names), "dropped": n - len(names)}


def _kept(path: Path, names: list[str]) -> list[str]:
    try:
        wanted = set(path.read_text().split())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); give the keep.txt of `semiseg gan card`"
        ) from None
    kept = [name for name in names if name in wanted]
    if len(kept) < 2:
        raise UserError(
            f"{path}: keeps {len(kept)} of the {len(names)} samples; sample more with --n, or "
            f"fit the generator longer"
        )
    return kept


def _write(out: Path, sample: Sample, format: str) -> None:
    if format == "png":
        from PIL import Image

        image = sample.image[..., 0] if sample.image.shape[-1] == 1 else sample.image
        Image.fromarray(image).save(out / "images" / f"{sample.name}.png")
        Image.fromarray(sample.label).save(out / "labels" / f"{sample.name}.png")
        return
    import nibabel

    for kind, pixels in (("images", sample.image[..., 0]), ("labels", sample.label)):
        nibabel.save(
            nibabel.Nifti1Image(pixels[..., None], np.eye(4)), out / kind / f"{sample.name}.nii.gz"
        )


# ------------------------------------------------------------------ what a sample is painted from
def _mask(
    rng: np.random.Generator,
    pool: np.ndarray,
    source: str,
    classes: int,
    maker: Any,
    settings: Settings,
) -> tuple[np.ndarray, int | None, bool]:
    """A mask, the index of the real one it comes from, and whether it was bent."""
    j = int(rng.integers(len(pool)))
    if source == "real":
        return pool[j], j, False
    if source == "varied":
        made = masks.vary(
            pool[j],
            rng,
            masks.Vary(flip=settings.turns),
            like=masks.without_regions(pool[j], classes),
        )
        return made.label, j, made.bent
    weights, model, k = maker
    for _ in range(20):
        if source == "vae":
            made = vae.sample(
                model, weights, rng.normal(size=(1, model.latent)).astype(np.float32)
            )[0]
        else:
            other = int(rng.integers(len(pool)))
            made = vae.between(
                model,
                weights,
                pool[[j]],
                pool[[other]],
                rng.uniform(0.2, 0.8, 1).astype(np.float32),
                k,
            )[0]
        if vae.usable(masks.without_regions(made, classes), masks.without_regions(pool, classes)):
            return made, None, True
    raise UserError(
        f"masks {source!r}: twenty draws in a row gave no usable mask; use --masks varied, which "
        f"works from a few masks on"
    )


def _code(
    rng: np.random.Generator, mean: np.ndarray, deviation: np.ndarray, style: str
) -> tuple[np.ndarray, str]:
    """A style code and where it comes from."""
    if style == "prior":
        return rng.normal(size=mean.shape[1:]), "prior"
    a, b = (int(i) for i in rng.integers(len(mean), size=2))
    share = rng.uniform(0, 0.3) * rng.integers(
        2
    )  # half of them near one image's style, half on the way to another's
    code: np.ndarray = (1 - share) * mean[a] + share * mean[b]
    return code + deviation[a] * rng.normal(size=mean.shape[1]), f"real {a}"


def _vae(fitted: Fitted, pool: np.ndarray) -> tuple[Any, vae.LabelVAE, int]:
    """A label-map VAE of the budget's masks; it takes seconds, so it is fitted when it is asked
    for.
    """
    model, k = vae.LabelVAE(), fitted.program.classes
    clean = np.where(pool == IGNORE, 0, pool)
    weights, _ = vae.fit(
        model, k, jnp.asarray(clean), jnp.int32(VAE_STEPS), jnp.uint32(fitted.settings.seed)
    )
    return weights, model, k
