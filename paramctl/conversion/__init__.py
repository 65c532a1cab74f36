"""Conversion between frameworks: names, layouts, and orders of channels. Start in convert.py."""
