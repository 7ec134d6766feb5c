"""The process that owns a device: one per model version. Imports numpy and onnxruntime, and little else."""
