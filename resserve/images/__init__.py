"""Encoded pictures to RGB pixels, the same way for training, golden images, calibration and service.

header.py refuses from the header what must not be decoded, pixels.py decodes, and the service resizes what comes out.
"""
