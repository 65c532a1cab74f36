"""The functions of ``import paramctl``: one for each command, by whose names they go, and the types that they take."""
