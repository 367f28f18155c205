#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of how-it-works.md as SVG files beside this script. Needs nothing but Python.

    c-core/doc/pictures/draw.py

A picture is a list of boxes, arrows and texts with coordinates in pixels; the origin is the top left corner.
"""

import pathlib
from xml.sax.saxutils import escape

FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
FILL = dict(plain="#ffffff", shared="#dbeafe", old="#e5e7eb", new="#dcfce7", lock="#fde68a", dead="#fecaca")


class Picture:
    def __init__(self, name, title, width, height):
        self.name, self.title, self.width, self.height = name, title, width, height
        self.parts = []

    def text(self, x, y, text, size=13, anchor="start", weight="normal", colour="#111827"):
        for i, line in enumerate(text.split("\n")):
            self.parts.append(
                f"<text x='{x}' y='{y + i * (size + 4)}' font-size='{size}' text-anchor='{anchor}' "
                f"font-weight='{weight}' fill='{colour}'>{escape(line)}</text>"
            )

    def box(self, x, y, width, height, text="", fill="plain", size=13):
        self.parts.append(
            f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='3' fill='{FILL[fill]}' stroke='#374151'/>"
        )
        lines = text.count("\n") + 1
        self.text(x + width / 2, y + height / 2 + size * 0.36 - (lines - 1) * (size + 4) / 2, text, size, "middle")

    def row(self, x, y, width, height, texts, fills=(), size=12):
        """Boxes side by side; answers the middle of each one's upper edge."""
        for i, text in enumerate(texts):
            self.box(x + i * width, y, width, height, text, fills[i] if i < len(fills) else "plain", size)
        return [x + i * width + width / 2 for i in range(len(texts))]

    def arrow(self, *points, dashed=False, label="", at=0, dx=6, dy=-4):
        path = " ".join(f"{x},{y}" for x, y in points)
        dash = " stroke-dasharray='5 4'" if dashed else ""
        self.parts.append(
            f"<polyline points='{path}' fill='none' stroke='#1f2937' stroke-width='1.4' marker-end='url(#tip)'{dash}/>"
        )
        if label:
            (x, y), (u, v) = points[at], points[at + 1]
            self.text((x + u) / 2 + dx, (y + v) / 2 + dy, label, 12)

    def write(self, folder):
        head = (
            "<?xml version='1.0' encoding='utf-8'?>\n"
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{self.width}' height='{self.height}' "
            f"viewBox='0 0 {self.width} {self.height}' {FONT} role='img'>\n<title>{escape(self.title)}</title>\n"
            "<defs><marker id='tip' markerWidth='9' markerHeight='8' refX='8' refY='4' orient='auto'>"
            "<path d='M0,0 L9,4 L0,8 z' fill='#1f2937'/></marker></defs>\n"
            f"<rect width='{self.width}' height='{self.height}' fill='#ffffff'/>\n"
        )
        (folder / f"{self.name}.svg").write_text(head + "\n".join(self.parts) + "\n</svg>\n", encoding="utf-8")


def the_object():
    p = Picture("object", "The regions of one shared object, and who maps it", 760, 250)
    p.text(20, 26, "One shared object: a dict with all dicts nested in it", 14, weight="bold")
    widths = [("super-\nblock", 70), ("control\nblock", 74), ("attach\ntable", 70), ("pins", 46), ("redo\nlist", 56),
              ("node\ntable", 60), ("segment\ntable", 74)]
    x = 20
    for text, width in widths:
        p.box(x, 40, width, 56, text, "lock" if text.startswith("control") else "shared", 12)
        x += width
    for text, fill in (("log\nsegment", "new"), ("index\nsegment", "shared"), ("log\nsegment", "new"), ("free", "old")):
        p.box(x, 40, 68, 56, text, fill, 12)
        x += 68
    p.text(20, 118, "fixed places, written when the dict is created", 12)
    p.text(472, 118, "segments, taken as the dict grows", 12)
    p.box(60, 180, 190, 44, "process A\nreads and writes")
    p.box(285, 180, 190, 44, "process B\nreads and writes")
    p.box(510, 180, 190, 44, "process C\nreads only")
    p.arrow((155, 180), (155, 136), label="maps it")
    p.arrow((380, 180), (380, 136), label="maps it at another address")
    p.arrow((605, 180), (605, 136), label="maps it read-only")
    return p


def the_get():
    p = Picture("get", "One get: from the root's reference to the value", 760, 330)
    p.text(20, 26, "d.get(7)", 14, weight="bold")
    p.box(20, 44, 170, 50, "control block\nroot_index", "lock")
    p.text(232, 60, "hash of the key:", 12)
    p.box(350, 44, 130, 26, "way (32 bits)", "plain", 12)
    p.box(480, 44, 130, 26, "tag (16 bits)", "plain", 12)
    directory = p.row(60, 130, 56, 34, ["ref", "ref", "ref", "ref", "…"], ["shared"] * 5)
    p.text(350, 152, "directory: the way's top bits choose a reference", 12)
    slots = p.row(60, 200, 74, 34, ["empty", "tag, offset", "tag, offset", "tomb", "empty"],
                  ["shared", "shared", "new", "shared", "shared"], 11)
    p.text(446, 222, "array of slots: probe, compare tags", 12)
    p.row(140, 272, 84, 36, ["stamp", "node, hash", "sizes, kind", "key 7", "value 9"], ["new"] * 5)
    p.text(576, 295, "record in the log: compare the key,\ncopy the value", 12)
    p.arrow((100, 94), (100, 130))
    p.arrow((directory[1], 164), (directory[1], 182), (90, 182), (90, 200))
    p.arrow((slots[2], 234), (slots[2], 272))
    p.text(630, 60, "before: load recycle\nafter: load it again", 12)
    return p


def the_put():
    p = Picture("put", "One put: the record, the redo list, the slot", 760, 400)
    p.text(20, 26, "d[7] = 11, where the value was 9", 14, weight="bold")
    p.text(20, 62, "the log", 12)
    p.row(90, 44, 104, 34, ["…", "7 → 9", "8 → 1", "7 → 11", "free"], ["old", "old", "shared", "new", "plain"])
    p.text(416, 98, "(1) written beyond the head", 12)
    p.text(20, 150, "redo list", 12)
    p.row(90, 132, 156, 34, ["head = …", "live bytes = …", "slot = tag, 7 → 11"], ["lock"] * 3)
    p.text(90, 186, "(2) every word that will change, with the value that it will have", 12)
    p.text(20, 232, "its length", 12)
    p.row(90, 214, 60, 34, ["0", "3", "0"], ["plain", "new", "plain"])
    p.text(290, 228, "(3) 3 is stored: the write is committed", 12)
    p.text(290, 246, "(6) 0 is stored when all of it is applied", 12)
    p.text(20, 302, "the slot", 12)
    p.box(90, 284, 120, 34, "tag, 7 → 9", "old", 12)
    p.box(270, 284, 120, 34, "tag, 7 → 11", "new", 12)
    p.arrow((210, 301), (270, 301))
    p.text(410, 298, "(4) the other words, then\n(5) the slot: readers see the new value", 12)
    p.text(20, 352, "published", 12)
    p.box(90, 334, 120, 34, "before the record", "old", 12)
    p.box(270, 334, 120, 34, "behind it", "new", 12)
    p.arrow((210, 351), (270, 351))
    p.text(410, 356, "(7) snapshots and followers see it", 12)
    return p


def the_crash():
    p = Picture("crash", "A writer dies with the lock, and the next one takes over", 760, 330)
    p.text(20, 26, "A writer is killed within a put", 14, weight="bold")
    p.box(20, 50, 200, 60, "process A, slot 3\nkilled after step (3)", "dead")
    p.box(280, 50, 200, 60, "lock word\n{acquisition 41, slot 3}", "lock")
    p.box(540, 50, 200, 60, "process B, slot 5\nwaits for the lock", "new")
    p.arrow((220, 80), (280, 80))
    p.arrow((540, 80), (480, 80))
    steps = [
        "1. The kernel closes A's descriptors, and frees the lock on byte 3, which A held while it lived.",
        "2. B has waited for 5 ms. It tries to lock byte 3, and gets it: so A is dead, and nobody can be slot 3 now.",
        "3. B looks at the lock word again. It still says acquisition 41, slot 3. B replaces it: acquisition 42, slot 5.",
        "4. The length of the redo list is not 0: A's write was committed. B applies the list from its beginning.",
        "5. B stores length 0, then published. A's write is there, whole. B frees byte 3 and goes on with its own write.",
    ]
    for i, step in enumerate(steps):
        p.text(30, 148 + 30 * i, step, 13)
    p.text(30, 308, "Had A died before step (3), the length would be 0, and nothing would lead to what A wrote.", 13)
    return p


def the_snapshot():
    p = Picture("snapshot", "A snapshot reads the versions that its position sees", 760, 240)
    p.text(20, 26, "A snapshot pinned at position 4200", 14, weight="bold")
    p.box(30, 60, 110, 44, "slot of key 7", "shared")
    p.box(230, 50, 150, 64, "7 → 12\nposition 4280", "new")
    p.box(440, 50, 130, 64, "7 → 11\nposition 4184", "shared")
    p.box(620, 50, 120, 64, "7 → 9\nposition 4096", "old")
    p.arrow((140, 82), (230, 82))
    p.arrow((380, 82), (440, 82), label="previous", dx=-26, dy=-8)
    p.arrow((570, 82), (620, 82), dashed=True)
    p.text(250, 136, "too new: follow\nthe way back", 12)
    p.text(446, 136, "not above 4200:\nthis is the value", 12)
    p.text(620, 136, "nobody can ask\nfor it any more", 12)
    p.box(30, 180, 190, 40, "pin of process B: 4200", "lock")
    p.text(240, 196, "Writers see the pin. They keep the way back, and clean nothing\nthat died above it.", 12)
    return p


def the_follower():
    p = Picture("follower", "A follower reads the log up to the published position", 760, 220)
    p.text(20, 26, "The log is the stream of changes", 14, weight="bold")
    cells = p.row(30, 70, 100, 44, ["put a", "erase b", "put c\n(first of 2)", "put d", "put e", "in the\nmaking", "free"],
                  ["old", "old", "shared", "shared", "shared", "lock", "plain"])
    p.arrow((cells[2] - 50, 160), (cells[2] - 50, 114))
    p.text(cells[2] - 44, 156, "cursor", 12)
    p.arrow((cells[5] - 50, 160), (cells[5] - 50, 114))
    p.text(cells[5] - 44, 156, "published", 12)
    p.text(30, 196, "A follower hands out whole commits between its cursor and the published position, then sleeps until it moves.", 12)
    return p


if __name__ == "__main__":
    folder = pathlib.Path(__file__).resolve().parent
    for picture in (the_object(), the_get(), the_put(), the_crash(), the_snapshot(), the_follower()):
        picture.write(folder)
