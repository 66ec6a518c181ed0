"""Workers that come and go: ``fleet_passing.py fork|exec LOG COUNT EACH_SECOND LIFE_S``.

Each writes down how many calls of ``work`` it made before it ended. With ``exec`` each is a program of its own.
Says ``ready``, begins at the first line of its standard input, and ends with the last of them.
"""

import os
import sys
import time


def work():
    return sum(range(100))


def live(log, seconds):
    calls, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        work()
        calls += 1
        time.sleep(0.01)
    line = b"%d\n" % calls
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line)
    os.close(fd)


def begin(how, log, life_s):
    if how == "exec":
        return os.posix_spawn(sys.executable, [sys.executable, __file__, "worker", log, life_s], os.environ)
    pid = os.fork()
    if not pid:
        live(log, float(life_s))
        os._exit(0)
    return pid


def main():
    how, log, *numbers = sys.argv[1:]
    if how == "worker":
        live(log, float(numbers[0]))
        return
    count, each_second, life_s = int(numbers[0]), float(numbers[1]), numbers[2]
    print("ready", flush=True)
    sys.stdin.readline()
    begin_s, running = time.monotonic(), set()
    for number in range(count):
        time.sleep(max(0.0, begin_s + number / each_second - time.monotonic()))
        running.add(begin(how, log, life_s))
        running.discard(os.waitpid(-1, os.WNOHANG)[0])
    while running:
        running.discard(os.waitpid(-1, 0)[0])
    print("done %.1f" % (time.monotonic() - begin_s), flush=True)
    sys.stdin.readline()


main()
