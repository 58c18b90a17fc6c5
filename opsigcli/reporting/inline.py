"""A case as a piece of HTML among others, as notebooks show it: the run in a line, and its pairs with pictures."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from opsigcli.printable import count, printable_lines, without_home
from opsigcli.reporting.findings import by_standing
from opsigcli.reporting.format import number, score
from opsigcli.reporting.galleries import group_gallery
from opsigcli.reporting.pictures import Album
from opsigcli.reporting.summary import delta_row

if TYPE_CHECKING:
    from opsigcli.mining_records import Pair
    from opsigcli.records import Case
    from opsigcli.reporting.galleries import Gallery

PAIRS, MEMBERS, SIZE = 6, 8, 48  # shown at most; pixels of a picture


def inline_html(case: Case) -> str:
    """The run, and its first pairs with the pictures that the store keeps.

    No script, no style sheet and no address: styles are on the elements, pictures within them. What comes from data is
    escaped.
    """
    trace, axis = case.trace, case.run.axis
    losses = trace.mean_losses
    parts = [
        f"<p><b>{_text(case.store.name)}</b>: {count(len(trace.example_ids), 'example')}, "
        f"{count(len(trace.steps), 'checkpoint')}, {_text(axis.between(int(trace.steps[0]), int(trace.steps[-1])))}, "
        f"mean loss {number(losses[0])} → {number(losses[-1])}</p>"
    ]
    if case.mining is None:
        parts.append("<p>No pairs: nothing was mined yet.</p>")
    else:
        album = Album(case.thumbnails)
        ordered = [(name, *one) for name, some in by_standing(case.mining).items() for one in some]
        parts += [_pair(case, name, index, pair, album) for name, index, pair in ordered[:PAIRS]]
        if len(ordered) > PAIRS:
            parts.append(f"<p>{len(ordered) - PAIRS} more pairs.</p>")
        if not ordered:
            parts.append("<p>No pairs of opposing groups were proposed.</p>")
    return without_home(printable_lines(f"<div>{''.join(parts)}</div>"))


def _pair(case: Case, standing: str, index: int, pair: Pair, album: Album) -> str:
    row = delta_row(case.trace, pair.strongest_step)
    sides = [group_gallery(case, group, side, row, album, MEMBERS) for side, group in pair.groups.items()]
    opposition = pair.opposition
    chance = "" if opposition.null is None else f" (by chance {score(opposition.null)})"
    return (
        f"<div><b>Pair {index}</b> ({_text(standing)}): {_text(pair.verdict)}; opposition {score(opposition.value)}"
        f"{chance}<table><tr>{''.join(map(_side, sides))}</tr></table></div>"
    )


def _side(gallery: Gallery) -> str:
    tiles = "".join(
        f'<img src="{tile.picture}" width="{SIZE}" alt="{_text(tile.words)}" title="{_text(tile.words)}">'
        if tile.picture
        else f'<code title="{_text(tile.words)}">{_text(tile.example)}</code> '
        for tile in gallery.tiles
    )
    more = f" and {gallery.omitted} more" if gallery.omitted else ""
    return (
        f'<td style="vertical-align:top;text-align:left">{_text(gallery.title)}: {_text(gallery.labels)}<br>'
        f"{tiles}{more}</td>"
    )


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)
