"""Answers that need no click: the list of commands, and TAB completion of names, options, choices and files.

click takes four times as long to import as Python to start. The texts here are written from the commands by
``make man``, and tests compare each answer with click's. Every other question is left to click.
"""
