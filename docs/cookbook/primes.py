"""A WSGI application, for gunicorn: answers with prime factors of the number in the path."""

from __future__ import annotations


def application(environ, start_response):
    body = repr(factors(int(environ["PATH_INFO"].lstrip("/")))).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def factors(number):
    found, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return [*found, number] if number > 1 else found
