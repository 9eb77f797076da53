"""What is drawn in an SVG: paths with their style and points."""

import re
from xml.etree import ElementTree

import numpy as np

SPACE = "{http://www.w3.org/2000/svg}"


def find_drawn(drawing):
    """Style and points (N, 2) of every path of an SVG, also of one that is used somewhere else."""
    root = ElementTree.fromstring(drawing)
    defined = {one.get("id"): one for one in root.iter(f"{SPACE}path") if one.get("id")}
    found = []
    for one in root.iter():
        if one.tag == f"{SPACE}use":
            offset = float(one.get("x")), float(one.get("y"))
            found.append((one.get("style"), points_of(defined[one.get("href")[1:]]) + offset))
        elif one.tag == f"{SPACE}path" and not one.get("id"):
            found.append((one.get("style"), points_of(one)))
    return found


def points_of(path):
    """The numbers of a path's data as points."""
    return np.array([float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]).reshape(-1, 2)
