"""Writes tests/recordings/yunet.json: what a reference runtime computes with the published YuNet.

    pip install onnxruntime pillow numpy scikit-image
    python tests/tools/record_yunet.py face_detection_yunet_2023mar.onnx tests/recordings/yunet.json

The picture is scikit-image's astronaut, 512 pixels, in the upper left corner of a black square of
640. Of each output the file has its mean, its mean square and the values in the cells at which the
network is surest of a face, 40 for each size of cell.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import skimage
from PIL import Image

CELLS, LEVELS = 40, (8, 16, 32)


def record(model: Path) -> dict:
    """The reference's numbers."""
    photograph = Path(skimage.__file__).parent / "data" / "astronaut.png"
    square = np.zeros((640, 640, 3), np.float32)
    square[:512, :512] = np.asarray(Image.open(photograph).convert("RGB"))
    session = onnxruntime.InferenceSession(str(model))
    planes = np.ascontiguousarray(square[:, :, ::-1].transpose(2, 0, 1))[None]
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, {"input": planes}), strict=True))
    recorded = {}
    for level in LEVELS:
        sure = outputs[f"cls_{level}"] * outputs[f"obj_{level}"]
        cells = np.argsort(-sure.ravel())[:CELLS]
        for kind in ("cls", "obj", "bbox", "kps"):
            values = outputs[f"{kind}_{level}"][0].astype(np.float64)
            recorded[f"{kind}_{level}"] = {
                "mean": values.mean(),
                "mean_square": (values**2).mean(),
                "cells": cells.tolist(),
                "values": values[cells].round(7).tolist(),
            }
    return recorded


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(record(Path(sys.argv[1]))) + "\n")
