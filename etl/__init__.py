"""Keeps Campaign recipient lists equal to the CRM's daily exports, minus who must not be mailed."""

__version__ = "0.1.0"
