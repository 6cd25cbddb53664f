"""What this device has and lacks.

Nothing here imports numpy, OpenCV, ONNX Runtime or hnswlib: a wheel built for another CPU ends the process with
"illegal instruction" while it is imported, so each is tried in a child process first.
"""
