"""ML Programs off the Mac: read a saved Core ML package back, make an ONNX graph of it, run it on ONNX Runtime.

schema → blobs → program → constexpr → graph, ops → onnx → engine. None of it needs coremltools, or TensorFlow.
"""
