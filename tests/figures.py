# SPDX-License-Identifier: Apache-2.0
"""What tests of figures share."""


def all_apart(figure, boxes):
    """Texts and their boxes lie inside the figure, and none on another."""
    inside = figure.bbox.padded(1)
    for i, (text, box) in enumerate(boxes):
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, text
        for other, b in boxes[:i]:
            width, height = min(box.x1, b.x1) - max(box.x0, b.x0), min(box.y1, b.y1)
            assert width < 1 or height - max(box.y0, b.y0) < 1, (text, other)
