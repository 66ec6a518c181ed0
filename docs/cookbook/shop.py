"""A shop: threads, a database, a ledger that is flushed, invoices by another program. Says its port on standard output.

GET /CUSTOMER/NUMBER           an order, priced line by line
GET /CUSTOMER/NUMBER/invoice   the same, and an invoice of it
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANY = {"acme": 900}  # lines of an order; everybody else orders a few things

database = sqlite3.connect(":memory:", check_same_thread=False)
database.execute("create table prices (article integer primary key, cents integer)")
database.executemany("insert into prices values (?, ?)", ((it, 100 + 7 * it) for it in range(1000)))
ledger = tempfile.TemporaryFile("w")  # noqa: SIM115
lock = threading.Lock()


class Line:
    """Knows its order, and its order knows it: only the garbage collector can free them."""

    def __init__(self, order, article, quantity):
        self.order, self.article, self.quantity = order, article, quantity
        order.append(self)


def order(customer, number):
    lines = []
    for it in range(MANY.get(customer, 3 + number % 5)):
        Line(lines, (number + it) % 1000, 1 + it % 3)
    total = 0
    for line in lines:
        total += price(line.article) * line.quantity
    book(customer, number, total)
    return {"customer": customer, "number": number, "total": total}


def price(article):
    with lock:
        return database.execute("select cents from prices where article = ?", (article,)).fetchone()[0]


def book(customer, number, total):
    if number % 50 == 49:
        raise ValueError(f"order {number} of {customer} is booked already")
    with lock:
        ledger.write(f"{customer} {number} {total}\n")
        ledger.flush()
        os.fsync(ledger.fileno())


def invoice(order):
    return subprocess.run(["gzip", "-c"], input=json.dumps(order).encode(), stdout=subprocess.PIPE, check=True).stdout


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            customer, number, *more = self.path[1:].split("/")
            answer = order(customer, int(number))
            body = invoice(answer) if more else json.dumps(answer).encode()
            status = 200
        except ValueError as error:
            status, body = 409, str(error).encode()
        self.wfile.write(b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_port, flush=True)  # noqa: T201
        server.serve_forever()
