"""The demo's agents, its shop and what it begins with, on whatever database is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.demo import build

hf = build(Path.cwd() / "desk", database=os.environ["HOLDFAST_DATABASE"], seeded=True).holdfast
