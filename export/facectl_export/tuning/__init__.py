"""Fine-tunings that make a network easier to shrink, by the TensorFlow Model Optimization toolkit."""
