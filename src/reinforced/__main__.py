"""`python -m reinforced` is the command `reinforced`."""

import sys

from reinforced.cli import main

sys.exit(main())
