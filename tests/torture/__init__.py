"""Everything that can go wrong around a command, tried: ``make torture``, and one small round of each part in tests."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: more are started anew in each child
