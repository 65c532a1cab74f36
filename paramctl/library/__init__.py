"""The functions of ``import paramctl``, one for each command and named like it, and the types that they take."""
