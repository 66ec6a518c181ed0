"""A WSGI application, for a pre-forking server: one request in ten fails inside and is answered all the same."""


def application(environ, start_response):
    try:
        body = answer(int(environ["PATH_INFO"].lstrip("/")))
    except LookupError:
        body = b"missing"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def answer(number):
    if number % 10 == 3:
        raise LookupError(number)
    return b"found"
