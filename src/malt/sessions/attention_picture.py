"""A picture of where segments looked: one column a remembered moment of each segment, one row a layer of the model."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from malt.sessions.attention_probe import Attended

CELL, ROW, LEFT, TOP, BOTTOM, GAP = 12, 26, 112, 64, 78, 6
PAPER, INK, PALE = (255, 255, 255), (30, 30, 30), (120, 120, 120)
NONE, FULL = (243, 244, 248), (20, 60, 140)  # the colours of no attention and of all there is


def draw(attended: Sequence[Attended]) -> Image.Image:
    """Draw the shares of attention that go to what is remembered; the darkest cell is the largest share, which is told."""
    layers, moments = attended[0].remembered.shape
    wide = moments * CELL + GAP
    size = max(LEFT + len(attended) * wide + 24, 560), TOP + layers * ROW + BOTTOM
    picture = Image.new("RGB", size, PAPER)
    pen, font, small = ImageDraw.Draw(picture), ImageFont.load_default(15), ImageFont.load_default(12)
    largest = max(float(each.remembered.max()) for each in attended) or 1.0
    pen.text((12, 10), "Share of attention that goes to the memory", INK, font)
    told = "its moments, oldest first" if moments > 1 else "all its slots together"
    pen.text((12, 34), f"for each segment: {told}; darkest = {100 * largest:.1f} % of a layer's attention", PALE, small)
    for layer in range(layers):
        pen.text((12, TOP + layer * ROW + 6), f"layer {layer + 1}", INK, small)
    bottom = TOP + layers * ROW
    for column, each in enumerate(attended):
        left = LEFT + column * wide
        for layer in range(layers):
            for moment in range(moments):
                share = float(each.remembered[layer, moment]) / largest
                x, y = left + moment * CELL, TOP + layer * ROW
                pen.rectangle((x, y, x + CELL - 2, y + ROW - 3), _between(share))
        pen.text((left, bottom + 4), str(each.start), INK, small)
        mean = float(each.remembered.sum(dim=1).mean())
        pen.text((left, bottom + 20), f"{100 * mean:.0f} %", PALE, small)
    pen.text((12, bottom + 4), "from frame", INK, small)
    pen.text((12, bottom + 20), "memory's part", PALE, small)
    pen.text(
        (12, bottom + 46), "what is missing from 100 % goes to the segment itself and the frames before it", PALE, small
    )
    return picture


def _between(share: float) -> tuple[int, ...]:
    return tuple(round(none + share * (full - none)) for none, full in zip(NONE, FULL, strict=True))
