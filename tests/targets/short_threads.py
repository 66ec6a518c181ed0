"""100,000 threads, eight at a time, each of which makes one call and ends."""

import threading

from protocol import serve, truth

THREADS = 100000
AT_ONCE = 8


def short_lived():
    pass


def run():
    for _ in range(THREADS // AT_ONCE):
        threads = [threading.Thread(target=short_lived) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return {"short_lived": truth(THREADS)}


if __name__ == "__main__":
    serve(run)
