"""The pictures of README and docs, made of real measurements, so that they can be made again: ``script/pictures``."""
