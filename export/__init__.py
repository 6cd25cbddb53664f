"""The workstation: data, training, ONNX, quantization, gate, report. Needs `pip install sightline[export]`."""
