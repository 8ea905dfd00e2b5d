"""Ranges of a float file, by a few images."""


def calibrated(format_, fp32, batches, method):
    """Find ranges by one method; of several candidates, the narrowest."""
    images = list(batches)
    return format_.calibrate(fp32, images, sum(map(len, images)), method)[-1]
