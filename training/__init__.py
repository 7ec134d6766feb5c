"""From a folder of images to a checkpoint."""
