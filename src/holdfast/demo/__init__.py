"""The demo: a support desk over a real SQLite shop, and a tour of it. `holdfast demo` serves it."""

from holdfast.demo.desk import SCRIPTED, Demo, build

__all__ = ["SCRIPTED", "Demo", "build"]
