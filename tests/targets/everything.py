"""``scenarios.py`` and ``instrumented.py`` in one process."""

import instrumented
import scenarios
from protocol import added, serve

if __name__ == "__main__":
    serve(lambda: added([scenarios.run(), instrumented.run()]))
