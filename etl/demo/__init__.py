"""`etl demo`: three days of the whole path on embedded servers, and the proof of every outcome.

Part of the composition root: it may name the sandbox, and decides nothing about drops.
"""

from etl.demo.days import run_demo

__all__ = ["run_demo"]
