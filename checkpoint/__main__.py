"""`python -m checkpoint` is the command `checkpoint`."""

import sys

from checkpoint._cli import main

sys.exit(main())
