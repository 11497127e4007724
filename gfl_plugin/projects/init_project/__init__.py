"""Turns a folder of labelled images into a config: recognizes its form, reads it, splits it, and chooses settings.

globox reads the annotations. MMDetection reads COCO files and Pascal VOC folders where they lie; other forms are
written as a COCO file.
"""
