"""``predict --pixel-sizes``: a table says how large the pixels of each picture are."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from semiseg.cli.predict import main
from semiseg.data.provenance import Provenance
from semiseg.errors import UserError
from semiseg.runner.ensemble import Ensemble


class Recorder(SimpleNamespace):
    """An ensemble that was trained on millimetres, and writes down those it is given."""

    origin = Provenance()

    def check_files(self, files, words):
        return []

    def predict_files(self, files, mask, options, progress):
        self.spacings[files[0].name] = options.spacing
        return SimpleNamespace(differences=(), shares=np.array([0.5, 0.5]))


def test_each_picture_has_its_own_millimetres(tmp_path, monkeypatch):
    """Catches one size for all pictures, and a picture that the table leaves out."""
    frame = SimpleNamespace(frame=SimpleNamespace(spacing="1 1"))
    ensemble = Recorder(
        channels=1,
        channel_names=(),
        predictors=(),
        classes=("background", "head"),
        regions=(),
        in_millimetres=(frame,),
        spacings={},
    )
    monkeypatch.setattr(Ensemble, "load", lambda *_: ensemble)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("")
    source = tmp_path / "new"
    source.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(source / f"{name}.png")
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("filename,pixel size(mm)\na.png,0.5\n")
    words = [str(run), "--input", str(source), "--output", str(Path(tmp_path, "out"))]
    words += ["--pixel-sizes", str(sizes)]
    with pytest.raises(UserError, match=r"b\.png: is a picture.*--pixel-sizes"):
        main(words)
    sizes.write_text("filename,pixel size(mm)\na.png,0.5\nb.png,2\n")
    assert main(words) == 0
    assert ensemble.spacings == {"a.png": (0.5, 0.5), "b.png": (2.0, 2.0)}
