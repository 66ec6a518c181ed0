"""A JSON API: each request asks for the totals of an order. ``handle_request`` is what to measure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from options import parse, sizes

_TYPICAL_ITEMS = 60
_PRICES = {f"article-{number}": 100 + 7 * number for number in range(50)}


def requests(items: list[int]) -> Iterator[bytes]:
    """Bodies of orders with so many items each."""
    for order, many in enumerate(items):
        lines = [{"article": f"article-{number % 50}", "quantity": 1 + number % 3} for number in range(many)]
        yield json.dumps({"order": order, "lines": lines}).encode()


def handle_request(body: bytes) -> bytes:
    """Look up every price, and answer with the order's totals."""
    order = json.loads(body)
    lines, total = [], 0
    for line in order["lines"]:
        amount = _PRICES[line["article"]] * line["quantity"]
        total += amount
        lines.append({**line, "amount": amount})
    return json.dumps({"order": order["order"], "total": total, "lines": lines}).encode()


if __name__ == "__main__":
    for body in list(requests(sizes(parse(__doc__, 2000), _TYPICAL_ITEMS))):
        handle_request(body)
