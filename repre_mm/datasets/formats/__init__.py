"""Formats of data sets beyond a folder of images: COCO, Cityscapes, few labels."""
