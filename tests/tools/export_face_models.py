"""Writes multitalk_cli/media/faces/models/face_models.npz from the two published .tflite files.

Needs packages that nothing else here needs; run it in an environment of its own:

    pip install ai-edge-litert tflite numpy
    pip download --no-deps mediapipe==0.10.21 && unzip mediapipe-*.whl 'mediapipe/modules/*'
    python tests/tools/export_face_models.py mediapipe/modules face_models.npz

Each graph becomes a list of [operation, inputs, outputs, options] in JSON. Its constants follow
each other in two arrays, NETWORK/weights and NETWORK/numbers, and the graph says where each one
is: [number, array, start, shape]. Weights keep their bits, but float32 ones are stored as float16.
Nothing is compressed: a wheel is, and reading it takes less time so.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType

FILES = {
    "det": "face_detection/face_detection_full_range_sparse.tflite",
    "mesh": "face_landmark/face_landmark.tflite",
}
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}
ACTIVATIONS = {0: None, 1: "relu"}


class Graph:
    """One .tflite file: its operations without those that only unpack weights."""

    def __init__(self, path: Path) -> None:
        self._model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
        self._graph = self._model.Subgraphs(0)
        self._interpreter = _run_once(path)
        self._unpacked: dict[int, np.ndarray] = {}
        self._same_as: dict[int, int] = {}
        self.constants: dict[int, np.ndarray] = {}
        self.operations = [
            row for n in range(self._graph.OperatorsLength()) if (row := self._operation(n))
        ]

    def header(self) -> dict:
        """What the runner reads: input, outputs, operations, size of the input."""
        return {
            "inp": int(self._graph.Inputs(0)),
            "out": [int(self._graph.Outputs(n)) for n in range(self._graph.OutputsLength())],
            "ops": self.operations,
            "size": self._graph.Tensors(self._graph.Inputs(0)).ShapeAsNumpy().tolist(),
        }

    def _operation(self, number: int) -> list | None:
        operator = self._graph.Operators(number)
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        name = tflite.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
        inputs = [int(operator.Inputs(n)) for n in range(operator.InputsLength())]
        outputs = [int(operator.Outputs(n)) for n in range(operator.OutputsLength())]
        if name == "DENSIFY":
            self._unpacked[outputs[0]] = self._interpreter.get_tensor(outputs[0]).copy()
            return None
        if name == "DEQUANTIZE":
            self._same_as[outputs[0]] = inputs[0]
            return None
        options = _options(name, operator)
        if name == "RESHAPE":
            options["shape"] = self._graph.Tensors(outputs[0]).ShapeAsNumpy().tolist()
        return [name, [self._resolve(n) for n in inputs], outputs, options]

    def _resolve(self, number: int) -> int:
        """The tensor behind an unpacked weight; keeps its value where it is a constant."""
        while number in self._same_as:
            number = self._same_as[number]
        value = self._unpacked.get(number)
        if value is None:
            value = self._constant(number)
        if value is not None:
            self.constants[number] = value
        return number

    def _constant(self, number: int) -> np.ndarray | None:
        tensor = self._graph.Tensors(number)
        data = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(data, int) or len(data) == 0:
            return None
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        return np.frombuffer(data.tobytes(), DTYPES[tensor.Type()]).reshape(shape)


def _run_once(path: Path) -> Interpreter:
    """An interpreter after one run, so that sparse weights lie there unpacked."""
    interpreter = Interpreter(
        str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], np.float32))
    interpreter.invoke()
    return interpreter


def _options(name: str, operator: tflite.Operator) -> dict:
    def read(kind: type) -> object:
        options, table = kind(), operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        kind = tflite.Conv2DOptions if name == "CONV_2D" else tflite.DepthwiseConv2DOptions
        conv = read(kind)
        activation = ACTIVATIONS[conv.FusedActivationFunction()]
        return {"s": [conv.StrideH(), conv.StrideW()], "p": int(conv.Padding()), "act": activation}
    if name == "MAX_POOL_2D":
        pool = read(tflite.Pool2DOptions)
        stride, size = [pool.StrideH(), pool.StrideW()], [pool.FilterHeight(), pool.FilterWidth()]
        return {"s": stride, "k": size, "p": int(pool.Padding())}
    if name == "ADD":
        return {"act": ACTIVATIONS[read(tflite.AddOptions).FusedActivationFunction()]}
    if name == "RESIZE_BILINEAR":
        resize = read(tflite.ResizeBilinearOptions)
        return {"ac": bool(resize.AlignCorners()), "hp": bool(resize.HalfPixelCenters())}
    if name == "DEPTH_TO_SPACE":
        return {"b": int(read(tflite.DepthToSpaceOptions).BlockSize())}
    return {}


def pack(name: str, header: dict, constants: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    """One network as the runner reads it."""
    flat: dict[str, list[np.ndarray]] = {"weights": [], "numbers": []}
    lengths = dict.fromkeys(flat, 0)
    places = []
    for number, value in constants.items():
        array = "numbers" if value.dtype == np.int32 else "weights"
        places.append([number, array, lengths[array], list(value.shape)])
        flat[array].append(value.ravel())
        lengths[array] += value.size
    return {
        f"{name}/graph": np.frombuffer(
            json.dumps({**header, "constants": places}).encode(), np.uint8
        ),
        f"{name}/weights": np.concatenate(flat["weights"]).astype(np.float16),
        f"{name}/numbers": np.concatenate(flat["numbers"]),
    }


def export(modules: Path, target: Path) -> None:
    """Converts both files under `modules` into one .npz."""
    arrays: dict[str, np.ndarray] = {}
    for name, file in FILES.items():
        graph = Graph(modules / file)
        arrays |= pack(name, graph.header(), graph.constants)
    np.savez(target, **arrays)


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
