"""Draw plots as SVG inside a page: axes with round numbers, marks, words; colours come from the page's classes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 64.0, 16.0, 14.0, 46.0
TICK = 5.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis and its words."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A rectangle with two linear axes; y grows upwards.

    Attributes
    ----------
    width, height
        Of the whole picture, in its own units (pixels at full size).
    x, y
        Smallest and largest value of each axis.
    left
        Room for the words of the y axis.
    bottom
        Room for those of the x axis.
    """

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = LEFT
    bottom: float = BOTTOM

    def px(self, x: float) -> float:
        """Give the place of a value on the x axis."""
        low, high = self.x
        return self.left + (x - low) / (high - low) * (self.width - self.left - RIGHT)

    def py(self, y: float) -> float:
        """Give the place of a value on the y axis.

        >>> Plot(100, 100, (0, 1), (0, 1)).py(1.0)
        14.0
        """
        low, high = self.y
        return self.height - self.bottom - (y - low) / (high - low) * (self.height - self.bottom - TOP)

    def axes(self, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_name: str, y_name: str) -> str:
        """Give grid lines, marks and names of both axes."""
        right, floor = self.width - RIGHT, self.height - self.bottom
        parts = [
            line(self.left, self.py(t.at), right, self.py(t.at), "grid")
            + text(self.left - 8, self.py(t.at) + 4, t.label, "tick", "end")
            for t in y_ticks
        ]
        parts += [
            line(self.px(t.at), floor, self.px(t.at), floor + TICK, "axis")
            + text(self.px(t.at), floor + TICK + 13, t.label, "tick", "middle")
            for t in x_ticks
        ]
        parts.append(line(self.left, floor, right, floor, "axis"))
        parts.append(text((self.left + right) / 2, self.height - 6, x_name, "name", "middle"))
        middle = (TOP + floor) / 2
        parts.append(text(14, middle, y_name, "name", "middle", f"rotate(-90 14 {num(middle)})"))
        return "".join(parts)


def picture(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """Give a picture that shrinks with the page; `label` says what it shows to who cannot see it."""
    return (
        f'<svg viewBox="0 0 {num(width)} {num(height)}" width="{num(width)}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def rect(x: float, y: float, width: float, height: float, css: str, title: str = "", opacity: float = 1.0) -> str:
    """Give a filled rectangle; `title` shows under the pointer.

    >>> rect(0, 1, 2.5, 3, "bar", "a < b")
    '<rect x="0" y="1" width="2.5" height="3" class="bar"><title>a &lt; b</title></rect>'
    """
    shade = "" if opacity == 1.0 else f' fill-opacity="{num(opacity)}"'
    head = f'<rect x="{num(x)}" y="{num(y)}" width="{num(width)}" height="{num(height)}" class="{css}"{shade}'
    return f"{head}>{_title(title)}</rect>" if title else f"{head}/>"


def circle(x: float, y: float, radius: float, css: str, title: str = "") -> str:
    """Give a dot."""
    head = f'<circle cx="{num(x)}" cy="{num(y)}" r="{num(radius)}" class="{css}"'
    return f"{head}>{_title(title)}</circle>" if title else f"{head}/>"


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Give a straight line."""
    return f'<line x1="{num(x1)}" y1="{num(y1)}" x2="{num(x2)}" y2="{num(y2)}" class="{css}"/>'


def text(x: float, y: float, words: str, css: str, anchor: str = "start", transform: str = "") -> str:
    """Give words at a place."""
    turned = f' transform="{transform}"' if transform else ""
    return f'<text x="{num(x)}" y="{num(y)}" class="{css}" text-anchor="{anchor}"{turned}>{escape(words)}</text>'


def path(points: Sequence[tuple[float, float]], css: str, closed: bool = False) -> str:
    """Give a line through points, or the area inside.

    >>> path([(0, 0), (1, 2)], "line")
    '<path d="M0 0L1 2" class="line"/>'
    """
    drawn = "L".join(f"{num(x)} {num(y)}" for x, y in points)
    return f'<path d="M{drawn}{"Z" if closed else ""}" class="{css}"/>'


def tiles(cells: Sequence[tuple[float, float, float, float]], css: str) -> str:
    """Give many rectangles (x, y, width, height) of one colour as one short path."""
    drawn = "".join(f"M{num(x)} {num(y)}h{num(w)}v{num(h)}h{num(-w)}z" for x, y, w, h in cells)
    return f'<path d="{drawn}" class="{css}"/>' if drawn else ""


def round_ticks(low: float, high: float, most: int, label: Callable[[float], str]) -> list[Tick]:
    """Give marks at multiples of 1, 2 or 5 times a power of ten.

    >>> [t.label for t in round_ticks(0.0, 0.17, 5, "{:.2f}".format)]
    ['0.00', '0.05', '0.10', '0.15']
    """
    if not high > low:
        return [Tick(low, label(low))]
    raw = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [Tick(k * step, label(k * step)) for k in range(first, last + 1)]


def num(value: float) -> str:
    """Give a coordinate to a hundredth.

    >>> num(1.0), num(2.345), num(-0.001)
    ('1', '2.35', '0')
    """
    return f"{value + 0.0:.2f}".rstrip("0").rstrip(".") if abs(value) >= 0.005 else "0"


def _title(words: str) -> str:
    return f"<title>{escape(words)}</title>"
