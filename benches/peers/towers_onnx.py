"""The towers of a checkpoint in ONNX Runtime and OpenVINO, to compare with `flex/encode` of benches/bench.rs.

    pip install torch transformers onnx onnxscript onnxruntime openvino
    python benches/peers/make_models.py --tokenizer FOLDER --out models
    python benches/peers/towers_onnx.py models/vit-b-32 --out onnx

Exports the image tower once, quantises it as `quantize_dynamic` does by itself (weights per channel), and prints
images a second of batches of 16 and of one, for every engine in turn, as often as `--rounds` says. OpenVINO computes in
f32 and, as its hint is by itself on processors that have it, in bf16.
"""
import argparse
import time
from pathlib import Path

import numpy
import onnxruntime
import openvino
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from transformers import CLIPModel


class Images(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        pooled = self.model.vision_model(pixel_values=pixel_values).pooler_output
        return self.model.visual_projection(pooled)


def export(folder, out):
    """Paths of the image tower in f32 and in eight bits."""
    out.mkdir(parents=True, exist_ok=True)
    whole, prepared, quantised = out / "images.onnx", out / "prepared.onnx", out / "int8.onnx"
    if not quantised.exists():
        model = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
        side = model.config.vision_config.image_size
        pixels = torch.ones(2, 3, side, side)
        names = {"input_names": ["pixel_values"], "output_names": ["embeddings"]}
        axes = {"dynamic_axes": {"pixel_values": {0: "batch"}, "embeddings": {0: "batch"}}}
        torch.onnx.export(Images(model), pixels, whole, opset_version=17, dynamo=False, **names, **axes)
        quant_pre_process(whole, prepared)
        quantize_dynamic(prepared, quantised, weight_type=QuantType.QInt8, per_channel=True)
    return whole, quantised


def onnx(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixel_values": pixels})


def vino(path, threads, precision):
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    request = model.create_infer_request()
    return lambda pixels: request.infer({0: pixels})


def rate(work, pixels, seconds):
    work(pixels)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        work(pixels)
        count += len(pixels)
    return count / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a checkpoint folder in the Hugging Face layout")
    parser.add_argument("--out", type=Path, default=Path("onnx"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3)
    arguments = parser.parse_args()
    whole, quantised = export(arguments.model, arguments.out)
    engines = {
        "ONNX Runtime f32": onnx(whole, arguments.threads),
        "ONNX Runtime int8": onnx(quantised, arguments.threads),
        "OpenVINO f32": vino(whole, arguments.threads, "f32"),
        "OpenVINO bf16": vino(whole, arguments.threads, "bf16"),
    }
    for _ in range(arguments.rounds):
        for name, work in engines.items():
            for batch in (16, 1):
                pixels = numpy.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=numpy.float32)
                print(f"{name}, batches of {batch}: {rate(work, pixels, arguments.seconds):.2f} images a second", flush=True)


main()
